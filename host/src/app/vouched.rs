//! Whom the operator vouches for: principals of the config, who hold what the loaded tools need if nothing else is said.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use sha2::{Digest as _, Sha256};

use crate::auth::Vouched;
use crate::config::PrincipalConfig;
use crate::model::{Digest, Principal, Scope};
use crate::registry::{Generation, Registry};

/// The file in the data folder by which `tidegate run` tells whether it means the same local user as the live host.
pub const LOCAL_USER: &str = "local-user";

/// The principal that `config` describes, as it is on the generation in force.
pub fn vouched(config: &PrincipalConfig, issuer: &str, registry: &Arc<Registry>) -> Vouched {
    let (config, issuer, registry) = (config.clone(), issuer.to_owned(), registry.clone());
    let last = ArcSwapOption::<(u64, Arc<Principal>)>::empty();
    Arc::new(move || {
        let generation = registry.current();
        if let Some(last) = &*last.load()
            && last.0 == generation.number
        {
            return last.1.clone();
        }
        let principal = Arc::new(principal(&config, &issuer, &generation));
        last.store(Some(Arc::new((generation.number, principal.clone()))));
        principal
    })
}

fn principal(config: &PrincipalConfig, issuer: &str, generation: &Generation) -> Principal {
    let declared = || {
        let mut scopes: Vec<Scope> = generation.tools.values().flat_map(|tool| tool.manifest.scopes.clone()).collect();
        scopes.sort();
        scopes.dedup();
        scopes
    };
    Principal {
        issuer: issuer.into(),
        subject: config.subject.clone(),
        client: config.client.clone(),
        tenant: config.tenant.clone(),
        groups: config.groups.clone(),
        scopes: config.scopes.clone().unwrap_or_else(declared),
        claims: config.claims.clone(),
    }
}

/// Whether the host that is live on `data` takes its local user for the one that `config` describes.
pub fn is_local_user(data: &Path, config: &PrincipalConfig) -> bool {
    std::fs::read_to_string(data.join(LOCAL_USER)).is_ok_and(|print| print == print_of(config))
}

/// A digest of all that `config` says.
pub fn print_of(config: &PrincipalConfig) -> String {
    Digest(Sha256::digest(format!("{config:?}")).into()).to_string()
}
