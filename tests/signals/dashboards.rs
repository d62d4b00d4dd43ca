//! What is shipped for Grafana and Prometheus speaks of metrics that exist.

use std::collections::BTreeSet;

use serde_json::Value;

use super::metrics::{busy, prometheus};
use crate::harness::workspace;

fn shipped(name: &str) -> String {
    let path = workspace().join("docs/observability").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
}

/// Every `expr` of the dashboard.
fn expressions(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let own = members.get("expr").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(members.values().flat_map(expressions)).collect()
        }
        Value::Array(items) => items.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

/// The metrics of the host that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let words = words.filter(|word| word.starts_with("tidegate_") || word.starts_with("mcp_server_"));
    // A label, not a metric.
    words.filter(|word| *word != "tidegate_error_code").map(str::to_owned).collect()
}

/// What a host tells of after some of everything.
fn told() -> BTreeSet<String> {
    let (host, _plugins) = busy();
    let metrics = host.admin("/metrics").1;
    metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned()))
        .collect()
}

#[test]
fn the_alerts_are_rules_that_prometheus_takes() {
    let checked = prometheus("promtool", &["check", "rules", "docs/observability/alerts.yml"], "");
    assert!(checked.status.success(), "{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
}

/// Metrics that are shown or alerted on, of backends or of the rest, and that no host tells of.
fn missing(of_backends: bool) -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&shipped("dashboard.json")).expect("the dashboard is JSON");
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 20, "{expressions:?}");
    let used = named(&(expressions.join("\n") + &shipped("alerts.yml")));
    let is_of_backends = |name: &String| name.starts_with("tidegate_backend_") || name.starts_with("tidegate_breaker_");
    used.difference(&told()).filter(|name| is_of_backends(name) == of_backends).cloned().collect()
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_exists() {
    assert_eq!(missing(false), Vec::<String>::new());
}

#[test]
fn every_metric_of_backends_in_the_dashboard_and_the_alerts_exists() {
    assert_eq!(missing(true), Vec::<String>::new());
}

#[test]
fn every_expression_of_the_dashboard_is_one_that_prometheus_takes() {
    let dashboard: Value = serde_json::from_str(&shipped("dashboard.json")).expect("the dashboard is JSON");
    let rules: Vec<Value> = expressions(&dashboard)
        .iter()
        .enumerate()
        .map(|(n, expression)| serde_json::json!({"record": format!("panel:{n}"), "expr": expression.replace("$__rate_interval", "5m")}))
        .collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let groups = serde_json::json!({"groups": [{"name": "panels", "rules": rules}]});
    // JSON is YAML.
    std::fs::write(file.path(), groups.to_string()).expect("written");
    let checked = prometheus("promtool", &["check", "rules", file.path().to_str().expect("text")], "");
    assert!(checked.status.success(), "{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn what_fails_is_told_from_what_callers_got_wrong_by_the_same_codes_in_the_dashboard_and_the_alert() {
    let alerts = shipped("alerts.yml");
    let codes = alerts
        .split("tidegate_error_code=~")
        .nth(1)
        .and_then(|rest| rest.split('"').nth(1))
        .expect("an alert about failing calls");
    assert!(codes.contains("backend_unavailable") && !codes.contains("invalid_arguments"), "{codes}");
    let dashboard: Value = serde_json::from_str(&shipped("dashboard.json")).expect("the dashboard is JSON");
    let shares: Vec<_> = expressions(&dashboard).into_iter().filter(|text| text.contains("tidegate_error_code")).collect();
    let [fail, wrong] = shares.as_slice() else { panic!("two panels: {shares:?}") };
    assert!(fail.contains(&format!("tidegate_error_code=~\"{codes}\"")), "{fail}");
    assert!(wrong.contains(&format!("tidegate_error_code!~\"{codes}\"")), "what is left is the callers' own doing: {wrong}");
}
