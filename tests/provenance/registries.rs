//! Plugins in OCI registries: a real one, and those that lie.

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Bench, text};
use crate::harness::{Registry, USER};
use crate::outbound::server::{Seen, Server, respond};

#[test]
fn a_plugin_goes_into_a_real_registry_and_comes_back_as_it_was_signed() {
    let (bench, registry) = (Bench::signed(), Registry::open());
    std::fs::write(bench.plugin().join("README.md"), "# Echo\n").expect("written");
    let content = bench.sign("acme");
    let name = registry.name("tools/echo:0.1.0");
    let pinned = bench.prints(&["push", text(&bench.plugin()), &name]);
    assert!(pinned.starts_with(&registry.name("tools/echo@sha256:")), "{pinned}");
    for name in [&name, &pinned] {
        let said = bench.verified(name);
        assert!(said.contains(&content) && said.contains("signed by  acme"), "{said}");
    }
    // Again, though everything is there already.
    assert_eq!(bench.prints(&["push", text(&bench.plugin()), &name]), pinned);
    // What others see of it.
    let url = format!("http://{}/v2/tools/echo/manifests/0.1.0", registry.address);
    let manifest = ureq::get(url).header("accept", "application/vnd.oci.image.manifest.v1+json").call();
    let manifest: Value = manifest.expect("it is there").body_mut().read_to_string().expect("text").parse().expect("JSON");
    assert_eq!(manifest["artifactType"], "application/vnd.tidegate.plugin.v1");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(
        (&manifest["layers"][0]["mediaType"], manifest["layers"].as_array().map(Vec::len)),
        (&json!("application/wasm"), Some(4))
    );

    let said = bench.unverified(&registry.name("tools/echo:9"));
    assert!(said.contains("answers 404") && said.contains("nothing of that name"), "{said}");
    let said = bench.refusal(&["push", text(&bench.plugin()), &pinned]);
    assert!(said.contains("push to a tag"), "{said}");
}

#[test]
fn a_locked_registry_lets_in_whom_docker_knows() {
    let (bench, registry) = (Bench::signed(), Registry::locked());
    let name = registry.name("echo:1");
    let plugin = bench.plugin();
    let push = ["push", text(&plugin), name.as_str()];
    for said in [bench.refusal(&push), bench.unverified(&name)] {
        assert!(said.contains("401") && said.contains("docker login"), "{said}");
    }
    let config = |value: &Value| std::fs::write(bench.path("docker/config.json"), value.to_string()).expect("written");
    let auth = |pair: &str| json!({"auths": {&registry.address: {"auth": STANDARD.encode(pair)}}});
    config(&auth("ali:wrong"));
    for said in [bench.refusal(&push), bench.unverified(&name)] {
        assert!(said.contains("401") && !said.contains("wrong"), "{said}");
    }
    config(&auth(&format!("{}:{}", USER.0, USER.1)));
    bench.prints(&push);
    assert!(bench.verified(&name).contains("signed by  acme"));

    // From a credential helper, which is a program.
    config(&json!({"credHelpers": {&registry.address: "test"}}));
    let helper = bench.path("docker-credential-test");
    let script = |line: &str| {
        std::fs::write(&helper, format!("#!/bin/sh\nread -r registry\n{line}\n")).expect("written");
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).expect("changed");
    };
    let verify = || {
        let mut command = crate::harness::command();
        command.current_dir(bench.path("")).args(["plugin", "verify", &name, "--trust", "trust.toml"]);
        let path = format!("{}:{}", text(&bench.path("")), std::env::var("PATH").expect("a path"));
        let output = command.env("DOCKER_CONFIG", bench.path("docker")).env("PATH", path).output().expect("tidegate runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    script(&format!("echo '{}'", json!({"ServerURL": registry.address, "Username": USER.0, "Secret": USER.1})));
    assert_eq!(verify(), (true, String::new()));
    script("echo 'credentials not found in native keychain'; exit 1");
    let (_, said) = verify();
    assert!(said.contains("401"), "{said}");
    script("echo 'half a secret'; exit 2");
    let (_, said) = verify();
    assert!(said.contains("`docker-credential-test`") && said.contains("failed") && !said.contains("half"), "{said}");
    std::fs::write(bench.path("docker/config.json"), "{").expect("written");
    let said = bench.unverified(&name);
    assert!(said.contains("the credentials for") && said.contains("config.json"), "{said}");
}

#[test]
fn a_registry_that_can_t_be_reached_is_told_so() {
    let bench = Bench::signed();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let name = format!("oci://127.0.0.1:{port}/echo:1");
    for said in [bench.unverified(&name), bench.refusal(&["push", text(&bench.plugin()), &name])] {
        assert!(said.contains("can't reach") && said.contains("refused") && said.contains(&port.to_string()), "{said}");
    }
}

/// A name, what is bent, and what is said of it.
type Case<'a, T> = (&'a str, &'a dyn Fn(&mut T), &'a str);

/// A plugin as a registry serves it, whose manifest and blobs can be bent.
#[derive(Clone)]
struct Artifact {
    manifest: Value,
    /// By digest, with the length that is announced.
    blobs: Vec<(String, usize, Vec<u8>)>,
}

impl Artifact {
    fn of(bench: &Bench) -> Self {
        let mut artifact = Self { manifest: json!({}), blobs: Vec::new() };
        let mut layers = Vec::new();
        for (name, kind) in [
            ("echo.wasm", "application/wasm"),
            ("plugin.toml", "application/vnd.tidegate.plugin.manifest.v1+toml"),
            ("plugin.sig", "application/vnd.tidegate.plugin.signatures.v1+toml"),
        ] {
            let bytes = std::fs::read(bench.plugin().join(name)).expect("there");
            layers.push(json!({"mediaType": kind, "digest": artifact.blob(&bytes), "size": bytes.len()}));
        }
        let config = artifact.blob(b"{}");
        artifact.manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
            "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": config, "size": 2},
        });
        artifact
    }

    fn blob(&mut self, bytes: &[u8]) -> String {
        let digest = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let digest = format!("sha256:{digest}");
        self.blobs.push((digest.clone(), bytes.len(), bytes.to_vec()));
        digest
    }

    /// Serves it; answers the server and the name of the plugin there.
    fn serve(self) -> (Server, String) {
        let manifest = self.manifest.to_string();
        self.serve_with(move |_, to| respond(to, "200 OK", &[], &manifest))
    }

    fn serve_with(self, manifest: impl Fn(&Seen, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static) -> (Server, String) {
        let server = Server::plain(move |seen, to| {
            if seen.target.starts_with("/v2/echo/manifests/") {
                return manifest(seen, to);
            }
            let digest = seen.target.strip_prefix("/v2/echo/blobs/");
            match self.blobs.iter().find(|(known, ..)| Some(known.as_str()) == digest) {
                Some((_, announced, bytes)) => {
                    write!(to, "HTTP/1.1 200 OK\r\ncontent-length: {announced}\r\nconnection: close\r\n\r\n")?;
                    to.write_all(bytes)?;
                    Err(io::ErrorKind::ConnectionAborted.into())
                }
                None => respond(to, "404 Not Found", &[], ""),
            }
        });
        let name = format!("oci://127.0.0.1:{}/echo:1", server.port);
        (server, name)
    }
}

#[test]
fn an_honest_server_of_the_test_s_own_is_believed() {
    let bench = Bench::signed();
    let (_server, name) = Artifact::of(&bench).serve();
    assert!(bench.verified(&name).contains("signed by  acme"));
}

#[test]
fn registries_that_lie_about_blobs_are_caught() {
    let bench = Bench::signed();
    let honest = Artifact::of(&bench);
    let size = honest.blobs[0].1;
    let cases: [Case<'_, Artifact>; 7] = [
        ("other bytes", &|bent| bent.blobs[0].2[100] ^= 1, "sends other bytes than asked for"),
        ("shorter", &|bent| bent.blobs[0].2.truncate(size - 1), "bytes were announced"),
        (
            "shorter, and says so",
            &|bent| {
                bent.blobs[0].2.pop();
                bent.blobs[0].1 -= 1;
            },
            "bytes were announced",
        ),
        (
            "longer, and says so",
            &|bent| {
                bent.blobs[0].2.push(0);
                bent.blobs[0].1 += 1;
            },
            "bytes were announced",
        ),
        ("longer by its manifest", &|bent| bent.manifest["layers"][0]["size"] = json!(size + 1), "bytes were announced"),
        ("gone", &|bent| drop(bent.blobs.remove(0)), "answers 404"),
        ("no length at all", &|bent| bent.manifest["layers"][0]["size"] = json!(-1), "which none can have"),
    ];
    for (what, bend, expected) in cases {
        let mut bent = honest.clone();
        bend(&mut bent);
        let (_server, name) = bent.serve();
        let said = bench.unverified(&name);
        assert!(said.contains(expected), "{what}: {said}");
    }
}

#[test]
fn manifests_of_other_things_are_refused() {
    let bench = Bench::signed();
    let honest = Artifact::of(&bench);
    let component = honest.manifest["layers"][0].clone();
    let cases: [Case<'_, Value>; 8] = [
        ("an image", &|m| m["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json"), "its config is"),
        (
            "an unknown layer",
            &|m| m["layers"][2]["mediaType"] = json!("application/zip"),
            "of the unknown type `application/zip`",
        ),
        ("two components", &|m| m["layers"][2] = component.clone(), "two layers of the type `application/wasm`"),
        ("no manifest", &|m| drop(m["layers"].as_array_mut().expect("layers").remove(1)), "has no layer of the type"),
        ("a huge layer", &|m| m["layers"][1]["size"] = json!(1 << 30), "more than the 256.0 KiB it may have"),
        ("many layers", &|m| m["layers"] = json!(vec![component.clone(); 17]), "at most 16 layers"),
        ("another digest", &|m| m["layers"][0]["digest"] = json!("sha512:00"), "which none can have"),
        ("an index", &|m| *m = json!({"schemaVersion": 2, "manifests": []}), "is not a single artifact"),
    ];
    for (what, bend, expected) in cases {
        let mut bent = honest.clone();
        bend(&mut bent.manifest);
        let (_server, name) = bent.serve();
        let said = bench.unverified(&name);
        assert!(said.contains(expected), "{what}: {said}");
    }
}

#[test]
fn a_manifest_that_is_huge_endless_or_not_the_one_asked_for_is_refused() {
    let bench = Bench::signed();
    let honest = Artifact::of(&bench);
    let (_server, name) = honest.clone().serve_with(|_, to| {
        write!(to, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        loop {
            write!(to, "1000\r\n{}\r\n", " ".repeat(0x1000))?;
        }
    });
    let said = bench.unverified(&name);
    assert!(said.contains("sends more than 64.0 KiB"), "{said}");
    let (_server, name) = honest.clone().serve_with(|_, to| respond(to, "200 OK", &[], &" ".repeat(70_000)));
    assert!(bench.unverified(&name).contains("sends more than 64.0 KiB"));
    let (server, _) = honest.serve();
    let other = format!("oci://127.0.0.1:{}/echo@sha256:{}", server.port, "ab".repeat(32));
    let said = bench.unverified(&other);
    assert!(said.contains("sends other bytes than asked for") && said.contains(&"ab".repeat(32)), "{said}");
}

#[test]
fn credentials_go_to_the_registry_and_where_its_tokens_are_given_and_nowhere_else() {
    let bench = Bench::signed();
    let artifact = Artifact::of(&bench);
    // Where blobs are kept: elsewhere, as in the cloud.
    let blobs = Arc::new(artifact.blobs.clone());
    let elsewhere = Server::plain(move |seen, to| {
        let (_, _, bytes) = blobs.iter().find(|(digest, ..)| seen.target.ends_with(digest.as_str())).expect("a blob");
        write!(to, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len())?;
        to.write_all(bytes)
    });
    let tokens = Server::plain(|_, to| respond(to, "200 OK", &[], "{\"token\": \"t0ken\"}"));
    let (manifest, away, realm) = (artifact.manifest.to_string(), elsewhere.url.clone(), Arc::new(Mutex::new(String::new())));
    let (said_realm, token_url) = (Arc::clone(&realm), format!("{}/token", tokens.url));
    let registry = Server::plain(move |seen, to| {
        if seen.headers.get("authorization").map(String::as_str) != Some("Bearer t0ken") {
            let challenge = format!("Bearer realm=\"{}\",service=\"reg\"", realm.lock().expect("whole"));
            return respond(to, "401 Unauthorized", &[("www-authenticate", &challenge)], "");
        }
        match seen.target.starts_with("/v2/echo/manifests/") {
            true => respond(to, "200 OK", &[], &manifest),
            false => respond(to, "307 Temporary Redirect", &[("location", &format!("{away}{}", seen.target))], ""),
        }
    });
    let address = format!("127.0.0.1:{}", registry.port);
    let config = json!({"auths": {&address: {"auth": STANDARD.encode("ali:secret")}}});
    std::fs::write(bench.path("docker/config.json"), config.to_string()).expect("written");
    let name = format!("oci://{address}/echo:1");

    "http://tokens.example.com/".clone_into(&mut said_realm.lock().expect("whole"));
    let said = bench.unverified(&name);
    assert!(said.contains("gives tokens elsewhere") && said.contains("plain http"), "{said}");
    assert!(tokens.seen().is_empty());

    *said_realm.lock().expect("whole") = token_url;
    assert!(bench.verified(&name).contains("signed by  acme"));
    let asked = tokens.seen();
    assert_eq!((asked.len(), asked[0].target.as_str()), (1, "/token?service=reg&scope=repository%3Aecho%3Apull"));
    assert_eq!(asked[0].headers["authorization"], format!("Basic {}", STANDARD.encode("ali:secret")));
    assert!(
        registry.seen().iter().all(|seen| !seen.headers.get("authorization").is_some_and(|value| value.starts_with("Basic")))
    );
    assert_eq!(elsewhere.seen().len(), 3);
    assert!(elsewhere.seen().iter().all(|seen| !seen.headers.contains_key("authorization")));
}
