//! The tool calls of a stream: which call a piece belongs to.

use std::collections::HashMap;

use super::arguments::Arguments;
use super::completion::{ToolCall, Why};

/// The calls of one answer, numbered as they came.
#[derive(Debug, Default)]
pub(super) struct Calls {
    list: Vec<Call>,
    /// The latest call with each index.
    latest: HashMap<u64, usize>,
}

/// A call as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) id: Option<String>,
    /// Empty while it is not known.
    pub(super) name: String,
    pub(super) arguments: Arguments,
}

/// What a piece was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// The call's name, perhaps with the first of its arguments.
    Named(usize),
    /// More of its arguments.
    More(usize),
}

impl Calls {
    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut Call> {
        self.list.get_mut(number)
    }

    /// Whether nothing can be added to the call.
    pub(super) fn is_whole(&self, number: usize) -> bool {
        self.list
            .get(number)
            .is_some_and(|call| call.arguments.is_whole())
    }

    /// Whether a call never got a name, though it has arguments.
    pub(super) fn any_nameless(&self) -> bool {
        let nameless = |call: &Call| call.name.is_empty() && !call.arguments.is_blank();
        self.list.iter().any(nameless)
    }

    /// Adds `entry`, which stands at `position` in its chunk, to the call it belongs to; `None` if
    /// it says nothing.
    ///
    /// # Errors
    ///
    /// If its arguments cannot be JSON any more.
    pub(super) fn add(
        &mut self,
        position: usize,
        entry: &ToolCall<'_>,
    ) -> Result<Option<Piece>, Why> {
        let (id, name, arguments) = (entry.id(), entry.name(), entry.arguments());
        let index = entry.index().unwrap_or(position as u64);
        let known = self.latest.get(&index).copied().filter(|&number| {
            // Servers that give every call the same index tell them apart by id and name.
            let known_id = self.list.get(number).and_then(|call| call.id.as_deref());
            let differs = id
                .as_deref()
                .is_some_and(|id| known_id.is_some_and(|known| known != id));
            !(differs && name.is_some())
        });
        if known.is_none() && id.is_none() && name.is_none() && arguments.is_empty() {
            return Ok(None);
        }
        let number = known.unwrap_or_else(|| {
            self.list.push(Call::default());
            self.list.len() - 1
        });
        self.latest.insert(index, number);
        let Some(call) = self.list.get_mut(number) else {
            return Ok(None);
        };
        if let (None, Some(id)) = (&call.id, id) {
            call.id = Some(id.into_owned());
        }
        call.arguments.push(&arguments)?;
        if let (true, Some(name)) = (call.name.is_empty(), name) {
            call.name = name.into_owned();
            return Ok(Some(Piece::Named(number)));
        }
        Ok(Some(Piece::More(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::completion::{Completion, ToolCall};
    use super::{
        Calls,
        Piece::{More, Named},
    };

    /// The pieces that the entries of one chunk after another are.
    fn pieces(chunks: &[&str]) -> Vec<Option<super::Piece>> {
        let mut calls = Calls::default();
        let mut pieces = Vec::new();
        for tool_calls in chunks {
            let json = format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{tool_calls}]}}}}]}}"#);
            let chunk = Completion::read(json.as_bytes()).unwrap();
            let delta = chunk.choices.as_ref().unwrap()[0].delta.as_ref().unwrap();
            let entries: &[ToolCall<'_>] = delta.tool_calls();
            for (position, entry) in entries.iter().enumerate() {
                pieces.push(calls.add(position, entry).unwrap());
            }
        }
        pieces
    }

    #[test]
    fn a_piece_belongs_to_the_latest_call_with_its_index() {
        let got = pieces(&[
            r#"{"index":0,"id":"a","function":{"name":"f"}},{"index":1,"id":"b","function":{"name":"g"}}"#,
            r#"{"index":1,"function":{"arguments":"{"}},{"index":0,"function":{"arguments":"{"}}"#,
        ]);
        assert_eq!(got, [Named(0), Named(1), More(1), More(0)].map(Some));
    }

    #[test]
    fn the_same_id_again_is_no_new_call_but_another_id_with_a_name_is() {
        let got = pieces(&[
            r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}"#,
            r#"{"index":0,"id":"a","function":{"name":"f","arguments":"}"}}"#,
            r#"{"index":0,"id":"x","function":{"arguments":""}}"#,
            r#"{"index":0,"id":"b","function":{"name":"f","arguments":"{"}}"#,
            r#"{"index":0,"function":{"arguments":"}"}}"#,
        ]);
        assert_eq!(
            got,
            [Named(0), More(0), More(0), Named(1), More(1)].map(Some)
        );
    }

    #[test]
    fn without_an_index_the_position_counts() {
        let got = pieces(&[
            r#"{"id":"a","function":{"name":"f"}},{"id":"b","function":{"name":"g"}}"#,
            r#"{"index":null,"function":{"arguments":"{"}},{"index":"x","function":{"arguments":"{"}}"#,
        ]);
        assert_eq!(got, [Named(0), Named(1), More(0), More(1)].map(Some));
    }

    #[test]
    fn a_call_waits_for_its_name_and_an_entry_that_says_nothing_is_none() {
        let got = pieces(&[
            r#"{},{"index":4,"function":{"name":"","arguments":""}},{"index":5,"function":null}"#,
            r#"{"index":4,"id":"a"}"#,
            r#"{"index":4,"function":{"arguments":"{"}}"#,
            r#"{"index":4,"function":{"name":"f","arguments":"}"}}"#,
        ]);
        assert_eq!(
            got,
            [
                None,
                None,
                None,
                Some(More(0)),
                Some(More(0)),
                Some(Named(0))
            ]
        );
    }
}
