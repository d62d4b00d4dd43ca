//! Tokens that somebody made up.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::*;

/// A 2048-bit RSA public key in PEM, as an attacker finds it; and its modulus.
const RSA_MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

async fn trusting_one(signer: &Signer) -> (FakeIssuer, Authenticator) {
    let issuer = FakeIssuer::start(&[signer]).await;
    let authenticator = trusting(&[("corp", IssuerConfig::at(&issuer.url))]);
    (issuer, authenticator)
}

/// A token whose header says `alg`, authenticated with a shared secret.
fn with_secret(alg: &str, claims: &Value, secret: &[u8]) -> String {
    let signed = format!("{}.{}", encode(&json!({"alg": alg, "kid": "k1"})), encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length will do");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_shared_secret() {
    let issuer = FakeIssuer::start(&[]).await;
    let rsa = json!({"kty": "RSA", "kid": "k1", "n": RSA_MODULUS, "e": "AQAB", "alg": "RS256"});
    *issuer.keys.lock().expect("no panic") = json!({ "keys": [rsa, {"kty": "oct", "kid": "k1", "k": "c2VjcmV0"}] });
    let authenticator = trusting(&[("corp", IssuerConfig::at(&issuer.url))]);
    let claims = claims(&issuer.url, json!({}));
    let modulus = URL_SAFE_NO_PAD.decode(RSA_MODULUS).expect("base64");
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{RSA_MODULUS}\n-----END PUBLIC KEY-----\n");
    for secret in [modulus.as_slice(), pem.as_bytes(), RSA_MODULUS.as_bytes(), rsa.to_string().as_bytes(), b"secret", b""] {
        assert_eq!(problem(&authenticator, &with_secret("HS256", &claims, secret)).await, Problem::Algorithm);
        // The same with a header that names the key's own algorithm.
        assert_eq!(problem(&authenticator, &with_secret("RS256", &claims, secret)).await, Problem::Signature);
    }
}

#[tokio::test]
async fn an_unsigned_token_is_refused_however_it_is_spelt() {
    let signer = Signer::ed25519("k1", 1);
    let (issuer, authenticator) = trusting_one(&signer).await;
    let claims = encode(&claims(&issuer.url, json!({})));
    for alg in ["none", "None", "NONE", "nOnE", "", "EdDSA ", "eddsa"] {
        for signature in ["", "AAAA"] {
            let token = format!("{}.{claims}.{signature}", encode(&json!({ "alg": alg })));
            assert_eq!(problem(&authenticator, &token).await, Problem::Algorithm, "{alg}");
        }
    }
    let token = format!("{}.{claims}.", encode(&json!({"alg": "EdDSA", "kid": "k1"})));
    assert_eq!(problem(&authenticator, &token).await, Problem::Signature);
}

#[tokio::test]
async fn a_key_verifies_only_what_its_type_can() {
    let (ec, ed) = (Signer::p256("k1"), Signer::ed25519("k2", 1));
    let issuer = FakeIssuer::start(&[&ec, &ed]).await;
    let authenticator = trusting(&[("corp", IssuerConfig::at(&issuer.url))]);
    let claims = claims(&issuer.url, json!({}));
    assert!(present(&authenticator, &ec.token(&claims)).await.is_ok());
    assert!(present(&authenticator, &ed.token(&claims)).await.is_ok());
    for (signer, alg) in [(&ec, "RS256"), (&ec, "PS256"), (&ec, "ES384"), (&ec, "EdDSA"), (&ed, "ES256"), (&ed, "RS256")] {
        let token = signer.token_with(json!({ "alg": alg }), &claims);
        assert_eq!(problem(&authenticator, &token).await, Problem::UnknownKey, "{} as {alg}", signer.kid);
    }
    for alg in ["RS512", "PS384", "ES512", "ES256K", "HS256"] {
        let token = ec.token_with(json!({ "alg": alg }), &claims);
        assert_eq!(problem(&authenticator, &token).await, Problem::Algorithm, "{alg} is not allowed by default");
    }
    let newer = ed.token_with(json!({"alg": "Ed25519"}), &claims);
    assert!(present(&authenticator, &newer).await.is_ok(), "the newer name of the same algorithm");
}

#[tokio::test]
async fn a_key_that_a_token_brings_along_is_not_looked_at() {
    let (ours, theirs) = (Signer::ed25519("k1", 1), Signer::ed25519("k1", 66));
    let (issuer, authenticator) = trusting_one(&ours).await;
    let evil = FakeIssuer::start(&[&theirs]).await;
    let claims = claims(&issuer.url, json!({}));
    for header in [
        json!({"jwk": theirs.jwk()}),
        json!({"jku": format!("{}/keys", evil.url)}),
        json!({"x5u": format!("{}/keys", evil.url)}),
        json!({"x5c": ["MIIB"], "x5t": "AAAA"}),
    ] {
        assert_eq!(problem(&authenticator, &theirs.token_with(header.clone(), &claims)).await, Problem::Signature, "{header}");
        assert!(present(&authenticator, &ours.token_with(header.clone(), &claims)).await.is_ok(), "{header}");
    }
    assert_eq!(evil.asked(), 0);
}

#[tokio::test]
async fn a_forged_key_name_is_a_name_and_nothing_else() {
    let signer = Signer::ed25519("k1", 1);
    let (issuer, authenticator) = trusting_one(&signer).await;
    let evil = FakeIssuer::start(&[&signer]).await;
    let claims = claims(&issuer.url, json!({}));
    assert!(present(&authenticator, &signer.token(&claims)).await.is_ok());
    let long = "k".repeat(10_000);
    for kid in ["../../../../dev/null", "/etc/passwd", &format!("{}/keys", evil.url), "k1' OR '1'='1", "k1\0", "K1", "", &long] {
        let token = signer.token_with(json!({ "kid": kid }), &claims);
        assert_eq!(problem(&authenticator, &token).await, Problem::UnknownKey, "{kid:.40}");
    }
    let numeric = signer.token_with(json!({"kid": 1}), &claims);
    assert_eq!(problem(&authenticator, &numeric).await, Problem::NoJwt);
    assert_eq!((issuer.asked(), evil.asked()), (1, 0));
}

#[tokio::test]
async fn what_is_no_signed_token_of_bounded_size_is_not_even_taken_apart() {
    let signer = Signer::ed25519("k1", 1);
    let (issuer, authenticator) = trusting_one(&signer).await;
    let claims = claims(&issuer.url, json!({}));
    let padded = signer.token(&self::claims(&issuer.url, json!({"padding": "x".repeat(20_000)})));
    assert_eq!(problem(&authenticator, &padded).await, Problem::TooLong(16 << 10));
    assert_eq!(problem(&authenticator, &"x".repeat(1 << 20)).await, Problem::TooLong(16 << 10));
    let good = signer.token(&claims);
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    for (token, expected) in [
        (String::new(), Problem::NoJwt),
        ("x".into(), Problem::NoJwt),
        ("..".into(), Problem::NoJwt),
        ("a.b.c".into(), Problem::NoJwt),
        (format!("{good}."), Problem::NoJwt),
        (format!("{good}.a"), Problem::NoJwt),
        (format!("{good}.a.b"), Problem::Encrypted),
        (format!("{signed}.{signature}="), Problem::Signature),
        (format!("{signed}.é"), Problem::Signature),
        (format!("{} .{signature}", signed), Problem::NoJwt),
        (signer.token_with(json!({"crit": ["exp"], "exp": 1}), &claims), Problem::Critical),
        (signer.token_with(json!({"crit": []}), &claims), Problem::Critical),
        (signer.token(&json!([1, 2])), Problem::NoJwt),
        (signer.token(&json!("claims")), Problem::NoJwt),
    ] {
        assert_eq!(problem(&authenticator, &token).await, expected, "{token:.60}");
    }
    let deep = format!("{{\"iss\":\"{}\",\"a\":{}{}}}", issuer.url, "[".repeat(4000), "]".repeat(4000));
    let signed = format!("{}.{}", encode(&json!({"alg": "EdDSA", "kid": "k1"})), URL_SAFE_NO_PAD.encode(deep));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &signer.key, Algorithm::EdDSA).expect("signed");
    assert_eq!(problem(&authenticator, &format!("{signed}.{signature}")).await, Problem::NoJwt, "too deep to be parsed");
}

#[tokio::test]
async fn an_issuer_vouches_for_its_own_subjects_alone_even_when_key_names_are_the_same() {
    let (one, two) = (Signer::ed25519("k1", 1), Signer::ed25519("k1", 2));
    let (first, second) = (FakeIssuer::start(&[&one]).await, FakeIssuer::start(&[&two]).await);
    let authenticator = trusting(&[("one", IssuerConfig::at(&first.url)), ("two", IssuerConfig::at(&second.url))]);
    let by = |issuer: &str, signer: &Signer| signer.token(&claims(issuer, json!({})));
    for (issuer, signer) in [(&first, &one), (&second, &two)] {
        let principal = present(&authenticator, &by(&issuer.url, signer)).await.expect("its own");
        assert_eq!(principal.issuer, issuer.url);
    }
    assert_eq!(problem(&authenticator, &by(&first.url, &two)).await, Problem::Signature);
    assert_eq!(problem(&authenticator, &by(&second.url, &one)).await, Problem::Signature);
    for stranger in ["https://evil.example", &format!("{}/", first.url), &first.url.to_uppercase(), "tidegate:dev", ""] {
        assert_eq!(problem(&authenticator, &by(stranger, &one)).await, Problem::UnknownIssuer, "{stranger}");
    }
    for claims in [json!({"iss": null}), json!({"iss": [first.url]}), json!({"iss": 7})] {
        assert_eq!(problem(&authenticator, &one.token(&self::claims(&first.url, claims))).await, Problem::UnknownIssuer);
    }
}
