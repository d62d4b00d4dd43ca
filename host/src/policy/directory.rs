//! What admins say about users and groups: attributes, and which groups they are in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cedar_policy::RestrictedExpression;
use serde_json::Value;

use super::operand::{Kind, Operand, Operands};

/// The most groups that one group is in, directly or through others.
const ABOVE: usize = 256;

/// Users and groups by id, and what is known about them.
#[derive(Default)]
pub(super) struct Directory {
    pub(super) users: BTreeMap<String, Listed>,
    /// The groups that a group is in; after [`Directory::close`] also those it is in through others.
    pub(super) above: BTreeMap<String, BTreeSet<String>>,
    /// The types of users' attributes, and which entity of the file has the attribute first.
    pub(super) types: BTreeMap<String, (AttributeType, usize)>,
}

/// A user as the entities file has it.
pub(super) struct Listed {
    pub(super) attributes: Vec<(String, Value)>,
    pub(super) groups: BTreeSet<String>,
}

/// A group whose place among the others makes no sense.
pub(super) enum Tangle {
    /// It is in itself.
    Circle(String),
    /// It is in too many others.
    TooMany(String),
}

/// The type of an attribute, as far as values tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttributeType {
    Known(Operand),
    EmptyList,
}

impl AttributeType {
    /// None if policies cannot see such a value.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let kind = |value: &Value| Kind::ALL.into_iter().find(|kind| kind.fits(value));
        match value {
            Value::Array(values) => match &values[..] {
                [] => Some(Self::EmptyList),
                [first, rest @ ..] => {
                    let first = kind(first)?;
                    rest.iter().all(|value| first.fits(value)).then_some(Self::Known(Operand { kind: first, is_list: true }))
                }
            },
            value => Some(Self::Known(Operand { kind: kind(value)?, is_list: false })),
        }
    }

    /// The type that values of both types have.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Known(one), Self::Known(two)) => (one == two).then_some(self),
            (Self::EmptyList, Self::Known(list)) | (Self::Known(list), Self::EmptyList) => {
                list.is_list.then_some(Self::Known(list))
            }
            (Self::EmptyList, Self::EmptyList) => Some(self),
        }
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(operand) => operand.fmt(f),
            Self::EmptyList => f.write_str("an empty list"),
        }
    }
}

impl Directory {
    /// The attributes that users have, all of them optional.
    pub(super) fn attribute_types(&self) -> Operands {
        let known = |(name, (kind, _)): (&String, &(AttributeType, usize))| match kind {
            AttributeType::Known(operand) => Some((name.clone(), *operand)),
            AttributeType::EmptyList => None,
        };
        self.types.iter().filter_map(known).collect()
    }

    /// The ids of all groups that are listed.
    pub(super) fn group_ids(&self) -> impl Iterator<Item = &str> {
        self.above.keys().map(String::as_str)
    }

    /// The attributes of the user of this id that are wanted.
    pub(super) fn attributes(&self, user: &str, wants: impl Fn(&str) -> bool) -> Vec<(String, RestrictedExpression)> {
        let Some(listed) = self.users.get(user) else { return Vec::new() };
        let wanted = listed.attributes.iter().filter(|(name, _)| wants(name));
        let read = wanted.filter_map(|(name, value)| match self.types.get(name) {
            Some((AttributeType::Known(operand), _)) => Some((name.clone(), operand.read(value)?)),
            _ => None,
        });
        read.collect()
    }

    /// Which of the groups in `asked` the user of this id is in, directly or through others, if its issuer says that it is in those
    /// of `asserted`.
    pub(super) fn groups<'a>(
        &self,
        user: &str,
        asserted: impl Iterator<Item = String>,
        asked: &'a BTreeSet<String>,
    ) -> Vec<&'a str> {
        let listed = self.users.get(user).into_iter().flat_map(|listed| listed.groups.iter().cloned());
        let direct: BTreeSet<String> = asserted.chain(listed).collect();
        let leads_to =
            |group: &String, wanted: &str| group == wanted || self.above.get(group).is_some_and(|above| above.contains(wanted));
        asked.iter().map(String::as_str).filter(|wanted| direct.iter().any(|group| leads_to(group, wanted))).collect()
    }

    /// Adds to every group those it is in through others.
    pub(super) fn close(&mut self) -> Result<(), Tangle> {
        let direct = self.above.clone();
        for (group, above) in &mut self.above {
            let mut open: Vec<&String> = direct[group].iter().collect();
            above.clear();
            while let Some(next) = open.pop() {
                if above.insert(next.clone()) {
                    open.extend(direct.get(next).into_iter().flatten());
                }
                if above.len() > ABOVE {
                    return Err(Tangle::TooMany(group.clone()));
                }
            }
            if above.contains(group) {
                return Err(Tangle::Circle(group.clone()));
            }
        }
        Ok(())
    }
}
