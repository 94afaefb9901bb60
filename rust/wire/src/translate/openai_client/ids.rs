//! Ids of tool calls: each one once, in the letters that Anthropic takes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};

/// By what a result names its call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key<'a> {
    /// `tool_call_id`
    Id(Cow<'a, str>),
    /// The function's name, in the API before tools.
    Function(Cow<'a, str>),
}

/// The ids given so far.
#[derive(Debug, Default)]
pub(super) struct Ids {
    used: HashSet<String>,
    /// How often an id was wanted; the next number to try after it.
    wanted: HashMap<String, usize>,
    functions: usize,
    /// The ids that differ from the client's, as (upstream's, client's).
    pub(super) changed: Vec<(String, String)>,
}

impl Ids {
    /// The id to send for a call; another one each time.
    pub(super) fn give(&mut self, key: &Key<'_>) -> String {
        let id = match key {
            Key::Id(id) => id,
            Key::Function(_) => {
                self.functions += 1;
                let given = self.unique(format!("call_fn_{}", self.functions));
                self.used.insert(given.clone());
                return given;
            }
        };
        let cleaned = if id.is_empty() { "call" } else { id };
        let given = self.unique(cleaned.chars().map(plain).collect());
        if given != **id {
            self.changed.push((given.clone(), id.clone().into_owned()));
        }
        self.used.insert(given.clone());
        given
    }

    fn unique(&mut self, id: String) -> String {
        if !self.used.contains(&id) {
            return id;
        }
        let number = self.wanted.entry(id.clone()).or_insert(1);
        loop {
            *number += 1;
            let candidate = format!("{id}_{number}");
            if !self.used.contains(&candidate) {
                return candidate;
            }
        }
    }
}

fn plain(character: char) -> char {
    if character.is_ascii_alphanumeric() || "_-".contains(character) {
        character
    } else {
        '_'
    }
}

/// The calls of one turn, and which of them wait for a result.
#[derive(Debug, Default)]
pub(super) struct Calls<'a> {
    /// The id sent for each; taken once it is answered.
    waiting: Vec<Option<String>>,
    by_key: HashMap<Key<'a>, VecDeque<usize>>,
}

impl<'a> Calls<'a> {
    pub(super) fn push(&mut self, key: Key<'a>, id: String) {
        self.by_key
            .entry(key)
            .or_default()
            .push_back(self.waiting.len());
        self.waiting.push(Some(id));
    }

    /// The id that was sent for the call that `key` answers; `None` if there is none that waits.
    pub(super) fn answer(&mut self, key: &Key<'a>) -> Option<String> {
        let call = self.by_key.get_mut(key)?.pop_front()?;
        self.waiting.get_mut(call)?.take()
    }

    /// The ids of the calls without a result, which are forgotten.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = String> {
        std::mem::take(self).waiting.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::{Calls, Ids, Key};

    fn id(text: &str) -> Key<'_> {
        Key::Id(text.into())
    }

    #[test]
    fn ids_are_cleaned_told_apart_and_remembered() {
        let mut ids = Ids::default();
        let wanted = ["call_1", "f:0", "f.0", "f:0", "call_1", "call_1_2", "", ""];
        let given: Vec<_> = wanted.iter().map(|text| ids.give(&id(text))).collect();
        let expected = [
            "call_1",
            "f_0",
            "f_0_2",
            "f_0_3",
            "call_1_2",
            "call_1_2_2",
            "call",
            "call_2",
        ];
        assert_eq!(given, expected);
        for (sent, client) in &ids.changed {
            let at = given.iter().position(|given| given == sent).unwrap();
            assert_eq!(wanted[at], client);
        }
        assert_eq!(ids.changed.len(), 7);
    }

    #[test]
    fn functions_are_numbered_beside_ids_of_the_same_form() {
        let mut ids = Ids::default();
        let function = Key::Function("f".into());
        assert_eq!(ids.give(&id("call_fn_1")), "call_fn_1");
        assert_eq!(ids.give(&function), "call_fn_1_2");
        assert_eq!(ids.give(&function), "call_fn_2");
        assert_eq!(ids.changed, []);
    }

    #[test]
    fn a_call_is_answered_once_and_in_order() {
        let mut calls = Calls::default();
        for (key, sent) in [("x", "x"), ("x", "x_2"), ("y", "y")] {
            calls.push(id(key), sent.to_owned());
        }
        assert_eq!(calls.answer(&id("x")).as_deref(), Some("x"));
        assert_eq!(calls.answer(&id("y")).as_deref(), Some("y"));
        assert_eq!(calls.answer(&id("y")), None);
        assert_eq!(calls.answer(&Key::Function("x".into())), None);
        assert_eq!(calls.drain().collect::<Vec<_>>(), ["x_2"]);
        assert_eq!(calls.answer(&id("x")), None);
    }

    #[test]
    fn many_calls_of_one_id_take_no_time() {
        let mut ids = Ids::default();
        let last = (0..100_000).map(|_| ids.give(&id("same"))).last();
        assert_eq!(last.as_deref(), Some("same_100000"));
    }
}
