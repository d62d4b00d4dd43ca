//! What a token whose signature holds must say, and what becomes of what it says.

use super::*;
use crate::auth::config::Profile;

/// Presents a token of a trusted issuer with these claims and header members, under this config.
async fn under(
    config: impl FnOnce(IssuerConfig) -> IssuerConfig,
    header: Value,
    changes: Value,
) -> Result<Arc<Principal>, AuthError> {
    let signer = Signer::ed25519("k1", 1);
    let issuer = FakeIssuer::start(&[&signer]).await;
    let authenticator = trusting(&[("corp", config(IssuerConfig::at(&issuer.url)))]);
    present(&authenticator, &signer.token_with(header, &claims(&issuer.url, changes))).await
}

async fn by_default(changes: Value) -> Result<Arc<Principal>, AuthError> {
    under(|config| config, json!({}), changes).await
}

fn refused(result: Result<Arc<Principal>, AuthError>) -> Problem {
    match result {
        Err(AuthError::Invalid(problem)) => problem,
        other => panic!("not refused: {other:?}"),
    }
}

fn texts(principal: &Principal) -> Vec<String> {
    principal.scopes.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_token_is_for_this_server_or_for_nobody_here() {
    for audience in [json!(RESOURCE), json!(["https://elsewhere", RESOURCE])] {
        assert!(by_default(json!({ "aud": audience })).await.is_ok(), "{audience}");
    }
    for audience in
        [json!("https://elsewhere"), json!(format!("{RESOURCE}/")), json!([]), json!([[RESOURCE]]), json!({}), Value::Null]
    {
        assert_eq!(refused(by_default(json!({ "aud": audience })).await), Problem::Audience(RESOURCE.into()), "{audience}");
    }
    let named = |config| IssuerConfig { audience: vec!["api://tools".into()], ..config };
    assert!(under(named, json!({}), json!({"aud": "api://tools"})).await.is_ok());
    assert_eq!(refused(under(named, json!({}), json!({})).await), Problem::Audience("api://tools".into()));
}

#[tokio::test]
async fn clocks_may_differ_by_the_leeway_and_no_more() {
    for (changes, expected) in [
        (json!({"exp": now() - 20}), None),
        (json!({"exp": now() - 40}), Some(Problem::Expired)),
        (json!({"exp": 0}), Some(Problem::Expired)),
        (json!({"nbf": now() + 20}), None),
        (json!({"nbf": now() + 40}), Some(Problem::NotYet)),
        (json!({"exp": (now() + 60) as f64 + 0.5, "nbf": now() as f64 - 0.5}), None),
        (json!({"iat": now() + 3600}), None),
        (json!({"exp": null}), Some(Problem::Claim("exp".into()))),
        (json!({"exp": (now() + 60).to_string()}), Some(Problem::Claim("exp".into()))),
        (json!({"exp": -1}), Some(Problem::Claim("exp".into()))),
        (json!({"exp": 1e300}), Some(Problem::Claim("exp".into()))),
        (json!({"exp": u64::MAX}), Some(Problem::Claim("exp".into()))),
        (json!({"nbf": "now"}), Some(Problem::Claim("nbf".into()))),
    ] {
        let result = by_default(changes.clone()).await;
        match expected {
            None => assert!(result.is_ok(), "{changes}: {result:?}"),
            Some(expected) => assert_eq!(refused(result), expected, "{changes}"),
        }
    }
    let strict = |config| IssuerConfig { leeway: seconds(0), ..config };
    assert_eq!(refused(under(strict, json!({}), json!({"exp": now() - 1})).await), Problem::Expired);
}

#[tokio::test]
async fn a_claim_that_is_null_is_absent() {
    let signer = Signer::ed25519("k1", 1);
    let issuer = FakeIssuer::start(&[&signer]).await;
    let authenticator = trusting(&[("corp", IssuerConfig::at(&issuer.url))]);
    let with_null = |claim: &str| {
        let mut claims = claims(&issuer.url, json!({}));
        claims[claim] = Value::Null;
        signer.token(&claims)
    };
    for optional in ["nbf", "authorization_details", "scp", "groups", "tenant", "azp", "cnf"] {
        let result = present(&authenticator, &with_null(optional)).await;
        assert!(result.is_ok(), "{optional}: {result:?}");
    }
    assert_eq!(problem(&authenticator, &with_null("exp")).await, Problem::Claim("exp".into()));
}

#[tokio::test]
async fn a_verified_token_does_not_outlive_its_expiry_in_the_cache() {
    let signer = Signer::ed25519("k1", 1);
    let issuer = FakeIssuer::start(&[&signer]).await;
    let authenticator = trusting(&[("corp", IssuerConfig { leeway: seconds(0), ..IssuerConfig::at(&issuer.url) })]);
    let token = signer.token(&claims(&issuer.url, json!({"exp": now() + 2})));
    let first = present(&authenticator, &token).await.expect("still good");
    let second = present(&authenticator, &token).await.expect("still good");
    assert!(Arc::ptr_eq(&first, &second), "verified once");
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while present(&authenticator, &token).await.is_ok() {
        assert!(std::time::Instant::now() < deadline, "it never expired");
        tokio::task::yield_now().await;
    }
    assert_eq!(problem(&authenticator, &token).await, Problem::Expired);
}

#[tokio::test]
async fn a_subject_is_a_name() {
    for subject in [Value::Null, json!(""), json!(7), json!("a\nb"), json!("x".repeat(513)), json!(["u1"])] {
        assert_eq!(refused(by_default(json!({ "sub": subject })).await), Problem::Claim("sub".into()), "{subject}");
    }
}

#[tokio::test]
async fn other_kinds_of_tokens_are_not_access_tokens() {
    let any = json!({});
    for typ in ["at+jwt", "application/at+jwt", "AT+JWT", "JWT", "jwt"] {
        assert!(under(|config| config, json!({ "typ": typ }), any.clone()).await.is_ok(), "{typ}");
    }
    assert!(under(|config| config, json!({"typ": null}), any.clone()).await.is_ok());
    for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt", "JWE", ""] {
        assert_eq!(refused(under(|config| config, json!({ "typ": typ }), any.clone()).await), Problem::OtherKind, "{typ}");
    }
    for mark in [json!({"nonce": "n"}), json!({"at_hash": "h"}), json!({"token_use": "id"}), json!({"typ": "ID"})] {
        let id_token = under(|config| config, json!({"typ": "JWT"}), mark.clone()).await;
        assert_eq!(refused(id_token), Problem::OtherKind, "an ID token for our audience: {mark}");
    }
    assert!(under(|config| config, json!({}), json!({"nonce": "n"})).await.is_ok(), "its type says that it is one");
    let bound = by_default(json!({"cnf": {"jkt": "x"}})).await;
    assert_eq!(refused(bound), Problem::Bound);
}

#[tokio::test]
async fn the_strict_profile_wants_what_rfc_9068_wants() {
    let strict = |config| IssuerConfig { profile: Profile::Rfc9068, ..config };
    assert!(under(strict, json!({}), json!({})).await.is_ok());
    for typ in [json!("JWT"), Value::Null] {
        assert_eq!(refused(under(strict, json!({ "typ": typ }), json!({})).await), Problem::OtherKind);
    }
    for missing in ["client_id", "iat", "jti"] {
        let result = under(strict, json!({}), json!({ missing: null })).await;
        assert_eq!(refused(result), Problem::Claim(missing.into()));
    }
}

#[tokio::test]
async fn scopes_come_as_text_or_list_and_those_of_others_mean_nothing() {
    let foreign = "openid offline_access https://graph.example/User.Read read:invoices.where(";
    for changes in [
        json!({"scope": format!("{foreign} read:invoices write:invoices read:invoices")}),
        json!({"scope": ["read:invoices", "write:invoices", "openid"]}),
        json!({"scope": null, "scp": "write:invoices read:invoices"}),
        json!({"scope": null, "scp": ["write:invoices", "read:invoices"]}),
        json!({"scope": "read:invoices", "scp": ["write:invoices"]}),
    ] {
        let principal = by_default(changes.clone()).await.expect("a good token");
        assert_eq!(texts(&principal), ["read:invoices", "write:invoices"], "{changes}");
    }
    assert_eq!(refused(by_default(json!({"scope": {"read": true}})).await), Problem::Claim("scope".into()));
    let many: Vec<_> = (0..300).map(|index| format!("read:r{index}")).collect();
    assert_eq!(refused(by_default(json!({"scope": many.join(" ")})).await), Problem::TooMany("scopes", 256));
}

#[tokio::test]
async fn authorization_details_say_the_same_as_scopes() {
    let detail = |more: Value| {
        let mut detail = json!({"type": DETAILS_TYPE, "actions": ["read"], "datatypes": ["invoices"]});
        merge(&mut detail, more);
        json!({"scope": null, "authorization_details": [detail]})
    };
    let principal = by_default(detail(json!({"where": ["user_id='u1'"], "locations": [RESOURCE]}))).await.expect("good");
    assert_eq!(texts(&principal), ["read:invoices.where(user_id='u1')"]);
    let elsewhere = by_default(detail(json!({"locations": ["https://elsewhere"]}))).await.expect("good");
    assert_eq!(texts(&elsewhere), Vec::<String>::new());
    let malformed = refused(by_default(detail(json!({"where": ["user_id='u1"]}))).await);
    assert!(matches!(&malformed, Problem::Details(why) if why.contains("index 0")), "{malformed:?}");
}

#[tokio::test]
async fn a_principal_knows_what_its_token_says_of_it_and_no_more() {
    let changes = json!({
        "sub": "u1", "azp": "other", "tenant": "acme", "groups": ["finance", "staff"], "pay_limit": 500, "email": "a@b",
        "iat": now(), "cnf": null, "auth_time": 1,
    });
    let principal = by_default(changes.clone()).await.expect("good");
    assert_eq!(
        (principal.subject.as_str(), principal.client.as_deref(), principal.tenant.as_deref()),
        ("u1", Some("c1"), Some("acme"))
    );
    assert_eq!(principal.groups, ["finance", "staff"]);
    assert_eq!(principal.claims.keys().map(String::as_str).collect::<Vec<_>>(), ["email", "groups", "pay_limit"]);
    assert_eq!(principal.claim("pay_limit"), Some(json!(500)));

    let named = |config| IssuerConfig {
        tenant_claim: "tid".into(),
        groups_claim: "roles".into(),
        claims: Some(vec!["pay_limit".into()]),
        ..config
    };
    let named = under(
        named,
        json!({}),
        json!({"client_id": null, "azp": "app", "tid": "t1", "tenant": "forged", "roles": "boss", "pay_limit": 1, "email": "a@b"}),
    );
    let named = named.await.expect("good");
    assert_eq!((named.client.as_deref(), named.claim("tenant")), (Some("app"), Some(json!("t1"))));
    assert_eq!((named.groups.clone(), named.claims.len()), (vec!["boss".to_owned()], 1));
}

#[tokio::test]
async fn a_token_that_holds_too_much_is_refused_rather_than_cut() {
    let groups: Vec<_> = (0..600).map(|index| format!("g{index}")).collect();
    assert_eq!(refused(by_default(json!({ "groups": groups })).await), Problem::TooMany("groups", 512));
    let claims: serde_json::Map<_, _> = (0..80).map(|index| (format!("c{index}"), json!(1))).collect();
    assert_eq!(refused(by_default(Value::Object(claims)).await), Problem::TooMany("claims", 64));
    assert_eq!(refused(by_default(json!({"groups": [7]})).await), Problem::Claim("groups".into()));
}

#[tokio::test]
async fn a_minted_token_counts_for_whom_it_names_and_not_elsewhere() {
    let minter = Minter::new().expect("random bytes");
    let authenticator = || {
        let plain = Authenticator::new(None, named("local"), &BTreeMap::new(), TokenLimits::default()).expect("sound");
        plain.with_minter(&minter)
    };
    let request = json!({"subject": "u2", "scopes": ["read:invoices"], "groups": ["finance"], "tenant": "acme", "claims": {"pay_limit": 5}});
    let request: TokenRequest = serde_json::from_value(request).expect("well formed");
    let minted = minter.mint(&request, &[], RESOURCE).expect("nothing forbidden");
    let early = authenticator();
    assert!(matches!(present(&early, &minted.token).await, Err(AuthError::Unavailable { .. })), "it does not listen yet");
    let here = authenticator();
    here.serve_as(RESOURCE);
    let principal = present(&here, &minted.token).await.expect("just minted");
    assert_eq!(
        (principal.issuer.as_str(), principal.subject.as_str(), principal.client.as_deref()),
        (DEV_ISSUER, "u2", Some("tidegate-dev"))
    );
    assert_eq!(
        (texts(&principal), &principal.groups, principal.claim("pay_limit")),
        (vec!["read:invoices".into()], &request.groups, Some(json!(5)))
    );
    let elsewhere = authenticator();
    elsewhere.serve_as("https://elsewhere/mcp");
    assert_eq!(problem(&elsewhere, &minted.token).await, Problem::Audience("https://elsewhere/mcp".into()));
    let another = Minter::new().expect("random bytes").mint(&request, &[], RESOURCE).expect("nothing forbidden");
    assert_eq!(problem(&here, &another.token).await, Problem::UnknownKey);
}
