//! The names of entities: types and ids as Cedar has them.

use cedar_policy::{EntityId, EntityTypeName, EntityUid};

use super::mangle::identifier;

/// The names of our own types, parsed once.
pub(super) struct Names {
    user: EntityTypeName,
    group: EntityTypeName,
    tool: EntityTypeName,
    plugin: EntityTypeName,
    action: EntityTypeName,
    effect: EntityTypeName,
    risk: EntityTypeName,
}

impl Names {
    pub(super) fn new() -> Self {
        let name = |text: &str| text.parse().expect("the host's own type names are Cedar names");
        Self {
            user: name("Tidegate::User"),
            group: name("Tidegate::Group"),
            tool: name("Tidegate::Tool"),
            plugin: name("Tidegate::Plugin"),
            action: name("Tidegate::Action"),
            effect: name("Tidegate::Effect"),
            risk: name("Tidegate::Risk"),
        }
    }

    /// The type of principals.
    pub(super) fn user(&self) -> &EntityTypeName {
        &self.user
    }

    /// The principal of this id; see [`global_id`].
    pub(super) fn user_of(&self, id: &str) -> EntityUid {
        uid(&self.user, id)
    }

    pub(super) fn group(&self, id: &str) -> EntityUid {
        uid(&self.group, id)
    }

    pub(super) fn tool(&self, name: &str) -> EntityUid {
        uid(&self.tool, name)
    }

    pub(super) fn plugin(&self, name: &str) -> EntityUid {
        uid(&self.plugin, name)
    }

    pub(super) fn action(&self, name: &str) -> EntityUid {
        uid(&self.action, name)
    }

    pub(super) fn effect(&self, name: &str) -> EntityUid {
        uid(&self.effect, name)
    }

    pub(super) fn risk(&self, name: &str) -> EntityUid {
        uid(&self.risk, name)
    }
}

/// The Cedar type of rows whose type the manifest calls `name`.
pub(super) fn row_type(name: &str) -> EntityTypeName {
    format!("Tidegate::{}", identifier(name)).parse().expect("`identifier` makes identifiers")
}

/// The entity that stands for whichever row is decided. Rows have no names of their own.
pub(super) fn row(of: &EntityTypeName) -> EntityUid {
    uid(of, "row")
}

/// `<issuer>|<name>`: subjects and groups are unique only under their issuer. `|` and `%` in the issuer are percent-encoded, so the
/// first `|` always ends it.
pub(super) fn global_id(issuer: &str, name: &str) -> String {
    if issuer.contains(['%', '|']) {
        format!("{}|{name}", issuer.replace('%', "%25").replace('|', "%7C"))
    } else {
        format!("{issuer}|{name}")
    }
}

fn uid(of: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
}
