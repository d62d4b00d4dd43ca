//! Whether what a caller holds suffices for what a tool needs, and which rows a scope speaks of.

use serde_json::{Map, Value};

use super::{Comparison, Condition, Scope, Term};
use crate::model::{Arguments, Principal, argument_at};

/// What the names in conditions stand for in one call.
#[derive(Clone, Copy, Debug)]
pub struct Bindings<'a> {
    /// Who calls.
    pub principal: &'a Principal,
    /// The arguments; `None` where there are none yet, in a listing. What depends on them is then taken to fit.
    pub arguments: Option<&'a Arguments>,
}

/// The scopes that differ between what a call's caller holds and what its tool needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// What is needed and not covered by anything held, in the order needed.
    pub missing: Vec<Scope>,
    /// What is held and goes beyond everything needed, in the order held.
    pub excess: Vec<Scope>,
}

/// A value that conditions compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// An integer of 64 bits.
    Integer(i64),
    /// A text.
    Text(String),
    /// A boolean, which only equals or differs.
    Bool(bool),
}

/// A scope whose terms were looked up once, to be asked about many rows.
#[derive(Clone, Debug)]
pub struct BoundScope {
    /// The attribute, how it is compared, and with what.
    conditions: Vec<(String, Comparison, Meaning)>,
}

/// What a term stands for.
#[derive(Clone, Debug)]
enum Meaning {
    /// These values; one, but for lists.
    Values(Vec<Scalar>),
    /// Something that is known only when a call comes.
    Later,
    /// Nothing: the claim or argument is absent or of another shape. No condition holds then.
    Nothing,
}

impl Scope {
    /// Whether holding `self` suffices where `needed` is needed: the same action and resource, and every row that `needed`
    /// speaks of is one that `self` speaks of.
    ///
    /// It is decided condition by condition, so it may say no where a cleverer proof would say yes, never the reverse.
    pub fn covers(&self, needed: &Self, bindings: &Bindings<'_>) -> bool {
        self.covers_with(needed, |condition| bindings.of_condition(condition))
    }

    /// Whether every row that `narrower` speaks of is one that `self` speaks of, whoever calls with whatever arguments: what names
    /// stand for is not known, so two of them are the same only if they are spelled the same.
    pub fn contains(&self, narrower: &Self) -> bool {
        self.covers_with(narrower, |condition| match &condition.term {
            Term::Integer(number) => Meaning::Values(vec![Scalar::Integer(*number)]),
            Term::Text(text) => Meaning::Values(vec![Scalar::Text(text.clone())]),
            Term::Principal(_) | Term::Argument(_) => Meaning::Nothing,
        })
    }

    fn covers_with(&self, needed: &Self, meaning: impl Fn(&Condition) -> Meaning) -> bool {
        let implied = |held: &Condition| needed.conditions.iter().any(|needed| implies(needed, held, &meaning));
        self.action == needed.action && self.resource == needed.resource && self.conditions.iter().all(implied)
    }

    /// The scope with what its conditions name looked up.
    pub fn bind(&self, bindings: &Bindings<'_>) -> BoundScope {
        let bound = |condition: &Condition| (condition.attribute.clone(), condition.comparison, bindings.of_condition(condition));
        BoundScope { conditions: self.conditions.iter().map(bound).collect() }
    }
}

impl BoundScope {
    /// Whether all conditions hold for `row`. An attribute that is absent or of another type fails its condition, `!=` included.
    pub fn admits(&self, row: &Map<String, Value>) -> bool {
        self.conditions.iter().all(|(attribute, comparison, meaning)| {
            let value = row.get(attribute).and_then(Scalar::of);
            value.is_some_and(|value| holds(*comparison, &value, meaning))
        })
    }
}

impl Delta {
    /// Compares what is held to what is needed.
    pub fn of(held: &[Scope], needed: &[Scope], bindings: &Bindings<'_>) -> Self {
        let covered = |needed: &&Scope| held.iter().any(|held| held.covers(needed, bindings));
        let beyond = |held: &&Scope| !needed.iter().any(|needed| needed.covers(held, bindings));
        Self {
            missing: needed.iter().filter(|needed| !covered(needed)).cloned().collect(),
            excess: held.iter().filter(beyond).cloned().collect(),
        }
    }
}

impl Scalar {
    /// The scalar that a JSON value is, if it is one.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Bool(flag) => Some(Self::Bool(*flag)),
            Value::Number(number) => integer(number).map(Self::Integer),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// The integer of 64 bits that a JSON number is, if it is one. `1.0` is one too, as in JSON Schema (2020-12, §6.1.1).
pub fn integer(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
        // Every whole float in this range is exactly an i64; the upper bound itself, 2^63, is not.
        (-(2f64.powi(63))..2f64.powi(63)).contains(&float).then_some(float as i64)
    })
}

impl Bindings<'_> {
    fn meaning(&self, term: &Term, is_list: bool) -> Meaning {
        let value = match term {
            Term::Integer(number) => return Meaning::Values(vec![Scalar::Integer(*number)]),
            Term::Text(text) => return Meaning::Values(vec![Scalar::Text(text.clone())]),
            Term::Principal(claim) => self.principal.claim(claim),
            Term::Argument(pointer) => match self.arguments {
                None => return Meaning::Later,
                Some(arguments) => argument_at(arguments, pointer).cloned(),
            },
        };
        let scalars = match &value {
            Some(Value::Array(values)) if is_list => values.iter().map(Scalar::of).collect(),
            Some(value) => Scalar::of(value).map(|scalar| vec![scalar]),
            None => None,
        };
        scalars.map_or(Meaning::Nothing, Meaning::Values)
    }

    fn of_condition(&self, condition: &Condition) -> Meaning {
        self.meaning(&condition.term, condition.comparison == Comparison::In)
    }
}

fn holds(comparison: Comparison, value: &Scalar, meaning: &Meaning) -> bool {
    match meaning {
        Meaning::Values(values) => compare(comparison, value, values),
        Meaning::Later => true,
        Meaning::Nothing => false,
    }
}

fn compare(comparison: Comparison, value: &Scalar, values: &[Scalar]) -> bool {
    match (comparison, value, values) {
        (Comparison::In, value, values) => values.contains(value),
        (Comparison::Equal, value, [other]) => value == other,
        (Comparison::NotEqual, Scalar::Integer(_), [Scalar::Integer(_)])
        | (Comparison::NotEqual, Scalar::Text(_), [Scalar::Text(_)])
        | (Comparison::NotEqual, Scalar::Bool(_), [Scalar::Bool(_)]) => value != &values[0],
        (Comparison::Less, Scalar::Integer(value), [Scalar::Integer(other)]) => value < other,
        (Comparison::LessOrEqual, Scalar::Integer(value), [Scalar::Integer(other)]) => value <= other,
        (Comparison::Greater, Scalar::Integer(value), [Scalar::Integer(other)]) => value > other,
        (Comparison::GreaterOrEqual, Scalar::Integer(value), [Scalar::Integer(other)]) => value >= other,
        _ => false,
    }
}

/// Whether every value that fulfils `needed` fulfils `held`, as far as the two conditions alone tell.
fn implies(needed: &Condition, held: &Condition, meaning: &impl Fn(&Condition) -> Meaning) -> bool {
    if needed.attribute != held.attribute {
        return false;
    }
    if needed == held {
        return true;
    }
    let (bound, limit) = match (meaning(needed), meaning(held)) {
        (Meaning::Nothing, _) | (_, Meaning::Nothing) => return false,
        (Meaning::Later, _) | (_, Meaning::Later) => return true,
        (Meaning::Values(bound), Meaning::Values(limit)) => (bound, limit),
    };
    match (needed.comparison, &bound[..]) {
        (Comparison::Equal | Comparison::In, values) => values.iter().all(|value| compare(held.comparison, value, &limit)),
        (Comparison::NotEqual, values) => held.comparison == Comparison::NotEqual && values == limit,
        (order, [Scalar::Integer(bound)]) => match (&limit[..], range(order, *bound)) {
            ([Scalar::Integer(limit)], Some(inner)) => within(inner, held.comparison, *limit),
            _ => false,
        },
        _ => false,
    }
}

/// The integers that an order admits, from and to; `None` if there are none.
fn range(order: Comparison, bound: i64) -> Option<(i64, i64)> {
    match order {
        Comparison::Less => Some((i64::MIN, bound.checked_sub(1)?)),
        Comparison::LessOrEqual => Some((i64::MIN, bound)),
        Comparison::Greater => Some((bound.checked_add(1)?, i64::MAX)),
        Comparison::GreaterOrEqual => Some((bound, i64::MAX)),
        Comparison::Equal | Comparison::NotEqual | Comparison::In => None,
    }
}

fn within((from, to): (i64, i64), comparison: Comparison, limit: i64) -> bool {
    match comparison {
        Comparison::NotEqual => !(from..=to).contains(&limit),
        order => range(order, limit).is_some_and(|(low, high)| low <= from && to <= high),
    }
}
