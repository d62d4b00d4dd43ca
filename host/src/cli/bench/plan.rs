//! What the load is to be, checked against what the server serves.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::args::{BenchArgs, Keys};
use super::dialect::{CallForm, Dialect};
use super::endpoint::Endpoint;
use super::survey::Listed;
use super::template::{Filling, Template};

/// The largest sum of weights.
const WEIGHTS: u64 = 10_000;

/// A tool to call, as the command line has it.
#[derive(Debug)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Its share of the calls.
    pub weight: u64,
    /// Its arguments.
    arguments: Template,
}

/// A load that is ready to be run.
pub struct Plan {
    /// Where to.
    pub endpoint: Endpoint,
    /// In which protocol.
    pub dialect: Dialect,
    /// The tools.
    pub tools: Vec<PlannedTool>,
    /// How long a caller thinks after a call.
    pub think: Duration,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long one is tried again.
    pub patience: Duration,
    /// The share of keyed calls that are repeated.
    repeat: f64,
    /// Which tool each call of a round is of.
    round: Vec<usize>,
}

/// A tool that is called.
pub struct PlannedTool {
    /// Its name.
    pub name: String,
    /// Its calls.
    pub form: CallForm,
    /// Whether each call gets a key.
    pub is_keyed: bool,
    /// Whether it says that it changes nothing.
    pub is_read_only: bool,
}

/// The tools that the command line names.
///
/// # Errors
/// A weight or arguments make no sense.
pub fn wanted(args: &BenchArgs) -> Result<Vec<Wanted>> {
    if !args.args.is_empty() && args.args.len() != args.tool.len() {
        bail!(
            "there are {} `--tool` and {} `--args`; give every tool its arguments, in the same order, or none at all",
            args.tool.len(),
            args.args.len()
        );
    }
    let mut tools = Vec::new();
    for (index, tool) in args.tool.iter().enumerate() {
        let (name, weight) = match tool.rsplit_once('=') {
            None => (tool.as_str(), 1),
            Some((name, weight)) => {
                let parsed = weight.parse().ok().filter(|weight| (1..=WEIGHTS).contains(weight));
                (name, parsed.with_context(|| format!("`{weight}` is no weight; write `{name}=2` to call it twice as often"))?)
            }
        };
        let text = args.args.get(index).map_or("{}", String::as_str);
        let arguments = Template::parse(text);
        let sample = arguments.fill(Filling { number: 1, principal: "bench-1", request: 1, key: "" });
        match serde_json::from_str::<Value>(&sample) {
            Ok(Value::Object(_)) => {}
            Ok(_) => bail!("the arguments of `{name}` must be a JSON object, such as '{{\"user_id\": \"u1\"}}'"),
            Err(error) => bail!("the arguments of `{name}` are not JSON: {error}"),
        }
        if arguments.names_principal() && args.principals.is_none() {
            bail!("the arguments of `{name}` hold `{{principal}}`, so say how many principals there are with `--principals`");
        }
        tools.push(Wanted { name: name.to_owned(), weight, arguments });
    }
    if tools.iter().map(|tool| tool.weight).sum::<u64>() > WEIGHTS {
        bail!("the weights add up to more than {WEIGHTS}; write smaller ones in the same proportion");
    }
    Ok(tools)
}

impl Plan {
    /// The load of `wanted`, as `args` say, on a server that lists these tools.
    ///
    /// # Errors
    /// The server does not list a tool.
    pub fn new(args: &BenchArgs, endpoint: Endpoint, dialect: Dialect, wanted: Vec<Wanted>, listed: &[Listed]) -> Result<Self> {
        let round = round(&wanted.iter().map(|tool| tool.weight).collect::<Vec<_>>());
        let mut tools = Vec::new();
        for Wanted { name, arguments, .. } in wanted {
            let Some(found) = listed.iter().find(|tool| tool.name == name) else {
                let names: Vec<_> = listed.iter().map(|tool| tool.name.as_str()).collect();
                bail!("the server lists no tool `{name}`; it lists {}", names.join(", "));
            };
            let is_keyed = args.write || (args.key == Keys::Auto && found.takes_key);
            let form = dialect.call_form(&name, arguments, is_keyed);
            tools.push(PlannedTool { name, form, is_keyed, is_read_only: found.is_read_only });
        }
        let (think, timeout, patience, repeat) = (args.think, args.timeout, args.patience, args.repeat);
        Ok(Self { endpoint, dialect, tools, think, timeout, patience, repeat, round })
    }

    /// Which tool the call `number` is of, by its place.
    pub fn tool_of(&self, number: u64) -> usize {
        self.round[(number % self.round.len() as u64) as usize]
    }

    /// Whether the call `number` is repeated if it succeeds.
    pub fn is_repeated(&self, number: u64) -> bool {
        (number as f64 * self.repeat).floor() > ((number - 1) as f64 * self.repeat).floor()
    }
}

/// A round of calls in which each tool has its weight of turns, spread as evenly as can be (smooth weighted round robin).
fn round(weights: &[u64]) -> Vec<usize> {
    let total: i64 = weights.iter().map(|weight| *weight as i64).sum();
    let mut credit = vec![0; weights.len()];
    let turn = |_| {
        for (credit, weight) in credit.iter_mut().zip(weights) {
            *credit += *weight as i64;
        }
        // Of equals the first.
        let next = (0..credit.len()).rev().max_by_key(|index| credit[*index]).expect("there is a tool");
        credit[next] -= total;
        next
    };
    (0..total).map(turn).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn args(flags: &[&str]) -> BenchArgs {
        Line::try_parse_from([&["bench"], flags].concat()).unwrap_or_else(|error| panic!("{error}")).args
    }

    fn refused(flags: &[&str]) -> String {
        wanted(&args(flags)).expect_err("it makes no sense").to_string()
    }

    #[test]
    fn tools_take_turns_by_weight_and_evenly() {
        assert_eq!(round(&[1]), [0]);
        assert_eq!(round(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        let mixed = round(&[90, 10]);
        assert_eq!((mixed.len(), mixed.iter().filter(|tool| **tool == 1).count()), (100, 10));
        assert!(mixed.windows(10).all(|window| window.iter().filter(|tool| **tool == 1).count() <= 1), "{mixed:?}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        assert!(refused(&["--tool", "a", "--tool", "b", "--args", "{}"]).contains("every tool its arguments"));
        assert!(refused(&["--tool", "a=0"]).contains("no weight"));
        assert!(refused(&["--tool", "a=9999", "--tool", "b=2"]).contains("smaller"));
        assert!(refused(&["--tool", "a", "--args", "[{n}]"]).contains("JSON object"));
        assert!(refused(&["--tool", "a", "--args", "{n"]).contains("not JSON"));
        assert!(refused(&["--tool", "a", "--args", r#"{"who": "{principal}"}"#]).contains("--principals"));
        for flags in [["--rate", "0"], ["--duration", "0s"], ["--concurrency", "0"], ["--repeat", "2"], ["--duration", "30"]] {
            assert!(Line::try_parse_from([&["bench", "--tool", "a"], &flags[..]].concat()).is_err(), "{flags:?}");
        }
        assert!(Line::try_parse_from(["bench"]).is_err(), "a tool is wanted");
    }

    #[test]
    fn keys_go_where_they_are_taken_or_demanded() {
        let listed = [
            Listed { name: "read".into(), is_read_only: true, takes_key: false },
            Listed { name: "pay".into(), is_read_only: false, takes_key: true },
        ];
        let keyed = |flags: &[&str]| {
            let args = args(&[&["--tool", "read=3", "--tool", "pay"], flags].concat());
            let endpoint = Endpoint::of("http://127.0.0.1:1/mcp").expect("a URL");
            let wanted = wanted(&args).expect("it makes sense");
            let plan = Plan::new(&args, endpoint, Dialect::Modern { tasks: false }, wanted, &listed).expect("both are listed");
            plan.tools.iter().map(|tool| tool.is_keyed).collect::<Vec<_>>()
        };
        assert_eq!(
            (keyed(&[]), keyed(&["--key", "none"]), keyed(&["--write"])),
            (vec![false, true], vec![false; 2], vec![true; 2])
        );
    }
}
