//! What a hostile or broken upstream may make of a stream.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::legal::input;

/// One thing done to a list of events.
#[derive(Debug, Clone)]
pub enum Harm {
    Drop(Index),
    Repeat(Index, Index),
    Swap(Index, Index),
    /// A member anywhere in an event gets another value, or goes.
    Set(Index, Index, Option<Value>),
    Insert(Index, Value),
    End(Index),
}

fn odd_value() -> impl Strategy<Value = Value> {
    let words = select(vec![
        json!(null),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!("text"),
        json!("tool_use"),
        json!("text_delta"),
        json!("input_json_delta"),
        json!(true),
        json!("error"),
        json!({"type": "tool_use"}),
        json!({"text": "x"}),
        json!([1, 2, 3, 4, 5, 6, 7]),
    ]);
    prop_oneof![words, input()]
}

pub fn harm() -> impl Strategy<Value = Harm> {
    let error =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let inserted = prop_oneof![
        odd_value(),
        odd_value().prop_map(|value| json!({"type": value})),
        odd_value()
            .prop_map(|value| json!({"type": "message_delta", "delta": {"stop_reason": value}})),
        odd_value().prop_map(|value| json!({"type": "error", "error": value})),
        select(vec![
            error,
            json!({"type": "message_start"}),
            json!({"type": "message_stop"})
        ]),
    ];
    prop_oneof![
        any::<Index>().prop_map(Harm::Drop),
        any::<(Index, Index)>().prop_map(|(from, to)| Harm::Repeat(from, to)),
        any::<(Index, Index)>().prop_map(|(one, other)| Harm::Swap(one, other)),
        (any::<(Index, Index)>(), proptest::option::of(odd_value()))
            .prop_map(|((event, member), value)| Harm::Set(event, member, value)),
        (any::<Index>(), inserted).prop_map(|(at, event)| Harm::Insert(at, event)),
        any::<Index>().prop_map(Harm::End),
    ]
}

/// Every member of `value` and of the objects in it, as JSON pointers.
fn places(value: &Value, place: &str, found: &mut Vec<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        let place = format!("{place}/{name}");
        places(inner, &place, found);
        found.push(place);
    }
}

impl Harm {
    pub fn apply(&self, events: &mut Vec<Value>) {
        if events.is_empty() {
            return;
        }
        let length = events.len();
        match self {
            Self::Drop(at) => drop(events.remove(at.index(length))),
            Self::Repeat(from, to) => {
                events.insert(to.index(length), events[from.index(length)].clone());
            }
            Self::Swap(one, other) => events.swap(one.index(length), other.index(length)),
            Self::Set(event, member, value) => {
                let event = &mut events[event.index(length)];
                let mut found = Vec::new();
                places(event, "", &mut found);
                if found.is_empty() {
                    return;
                }
                let place = &found[member.index(found.len())];
                let (parent, name) = place.rsplit_once('/').unwrap();
                let Some(Value::Object(members)) = event.pointer_mut(parent) else {
                    return;
                };
                match value {
                    Some(value) => drop(members.insert(name.to_owned(), value.clone())),
                    None => drop(members.remove(name)),
                }
            }
            Self::Insert(at, event) => events.insert(at.index(length), event.clone()),
            Self::End(at) => events.truncate(at.index(length)),
        }
    }
}
