//! The ids of an answer: those of its message, its signatures and its tool calls.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write;

use sha2::{Digest, Sha256};

/// An id beyond this is not kept: it ends up in a header, and in every thinking block.
const LENGTH: usize = 128;

/// `id` as the upstream gave it, if it can be told in a header.
pub(super) fn usable(id: &str) -> Option<&str> {
    let printable = id.bytes().all(|byte| byte.is_ascii_graphic());
    ((1..=LENGTH).contains(&id.len()) && printable).then_some(id)
}

/// What the ids of a message and its signatures have in common.
pub(super) fn stem<'a>(upstream_id: Option<&'a str>, request_id: &'a str) -> Cow<'a, str> {
    let given = upstream_id.map(|id| id.strip_prefix("chatcmpl-").unwrap_or(id));
    let own = request_id.strip_prefix("req_").unwrap_or(request_id);
    clean(given.filter(|id| !id.is_empty()).unwrap_or(own))
}

/// `id` with an underscore for each character that Anthropic's ids cannot have.
fn clean(id: &str) -> Cow<'_, str> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    if id.chars().all(plain) {
        return Cow::Borrowed(id);
    }
    let cleaned = id
        .chars()
        .map(|character| if plain(character) { character } else { '_' });
    Cow::Owned(cleaned.collect())
}

/// The ids of the tool calls of one answer, none of them twice.
#[derive(Debug, Default)]
pub(super) struct ToolIds(HashSet<String>);

impl ToolIds {
    /// The id for the call of this `number`: the `given` one if it is there and new, else one that
    /// no other request has.
    pub(super) fn take(
        &mut self,
        given: Option<&str>,
        request_id: &str,
        upstream_id: Option<&str>,
        number: usize,
    ) -> String {
        let id = given.map(|id| clean(id).into_owned());
        let id = id.filter(|id| !id.is_empty() && !self.0.contains(id));
        let id = id.unwrap_or_else(|| invented(request_id, upstream_id, number));
        self.0.insert(id.clone());
        id
    }
}

/// The same for the same bytes, so that a test or a repeated read finds it again.
fn invented(request_id: &str, upstream_id: Option<&str>, number: usize) -> String {
    let seed = format!(
        "{request_id}\n{}\n{number}",
        upstream_id.unwrap_or_default()
    );
    let mut id = "toolu_gw_".to_owned();
    for byte in Sha256::digest(seed.as_bytes()).iter().take(12) {
        // Writing into a string has no way to fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

#[cfg(test)]
mod tests {
    use super::{ToolIds, stem, usable};

    #[test]
    fn a_message_is_named_after_the_upstreams_id_or_the_request() {
        for (upstream, expected) in [
            (Some("chatcmpl-a1"), "a1"),
            (Some("gen-1"), "gen-1"),
            (Some("chatcmpl-a:b.c"), "a_b_c"),
            (Some("chatcmpl-"), "7"),
            (None, "7"),
        ] {
            assert_eq!(stem(upstream, "req_7"), expected, "{upstream:?}");
        }
    }

    #[test]
    fn what_no_header_can_carry_is_no_id() {
        assert_eq!(usable("chatcmpl-a:b"), Some("chatcmpl-a:b"));
        for id in ["", "a b", "a\nb", "é", &"x".repeat(129)] {
            assert_eq!(usable(id), None, "{id}");
        }
    }

    #[test]
    fn tool_ids_are_kept_cleaned_or_invented_and_never_twice() {
        let mut ids = ToolIds::default();
        let mut take = |given, number| ids.take(given, "req_1", Some("chatcmpl-a"), number);
        assert_eq!(take(Some("call_1-x"), 0), "call_1-x");
        assert_eq!(take(Some("functions.Bash:0"), 1), "functions_Bash_0");
        let invented = [
            take(Some("call_1-x"), 2),
            take(Some("functions_Bash_0"), 3),
            take(Some(""), 4),
            take(None, 5),
        ];
        for id in &invented {
            let digits = id.strip_prefix("toolu_gw_").unwrap();
            assert!(digits.len() == 24 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        let distinct: std::collections::HashSet<_> = invented.iter().collect();
        assert_eq!(distinct.len(), invented.len());
    }

    #[test]
    fn an_invented_id_is_the_same_again_and_no_other_requests() {
        let first = |request, upstream| ToolIds::default().take(None, request, upstream, 0);
        assert_eq!(first("req_1", Some("a")), first("req_1", Some("a")));
        assert_ne!(first("req_1", Some("a")), first("req_2", Some("a")));
        assert_ne!(first("req_1", Some("a")), first("req_1", Some("b")));
        assert_ne!(first("req_1", Some("a")), first("req_1", None));
    }
}
