//! Artifacts in OCI registries (<https://github.com/opencontainers/distribution-spec>).
//!
//! What is pushed goes through `oci-client`, and so are names and manifests read. What is pulled comes through the same bounded
//! [`Downloader`](super::Downloader) as everything else that is fetched: that crate takes in manifests and tokens of any length, sends
//! passwords to wherever a registry says that tokens are given, and follows redirects from https to http.

mod challenge;
mod docker;
mod pull;
mod push;
mod reference;

pub use self::pull::{OciLayer, OciPull};
pub use self::push::OciPush;
pub use self::reference::OciReference;

/// Who we are to a registry.
enum Login {
    /// Nobody.
    Anonymous,
    /// A user, and the password or token that stands for one.
    Basic(String, zeroize::Zeroizing<String>),
}
