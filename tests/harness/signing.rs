//! Signatures made as the documentation says, without any code of the host's: by keys that nobody keeps, over whatever a test likes.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Signs version 0.1.0 of `echo` in `dir`, whose component is said to tell what `published` is a digest of. Answers the public key.
pub fn sign_by_hand(dir: &Path, published: &str) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let file = |name: &str| hex(&Sha256::digest(std::fs::read(dir.join(name)).expect("there")));
    let statement = json!({
        "component": file("echo.wasm"), "manifest": file("plugin.toml"), "name": "echo", "published": published, "version": "0.1.0",
    });
    let key = SigningKey::from_bytes(&[7; 32]);
    let message = [b"tidegate/plugin/1\0", statement.to_string().as_bytes()].concat();
    let signature = URL_SAFE_NO_PAD.encode(key.sign(&message).to_bytes());
    let public = key.verifying_key().to_bytes();
    let checked = [&public[..], &crc32fast::hash(&public).to_be_bytes()].concat();
    let public = format!("tidegate-plugin-key-1:{}", URL_SAFE_NO_PAD.encode(checked));
    let toml = format!(
        "format = \"tidegate/plugin/1\"\npublished = \"{published}\"\n[[signature]]\nkey = \"{public}\"\nsignature = \"{signature}\"\n"
    );
    std::fs::write(dir.join("plugin.sig"), toml).expect("written");
    public
}
