//! Tool names that the other API accepts: at most 64 of `[A-Za-z0-9_-]`, where Anthropic allows
//! 128.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;

use sha2::{Digest, Sha256};

const LENGTH: usize = 64;
/// What is left of a name that had to be changed; an underscore and eight hex digits follow.
const KEPT: usize = 55;

/// The names that were changed for one request, as sent and as the client wrote them.
#[derive(Debug, Default)]
pub(in crate::translate) struct Names(HashMap<String, String>);

impl Names {
    /// The name to send for the client's `name`; the same each time.
    pub(super) fn sent<'a>(&mut self, name: &'a str) -> Cow<'a, str> {
        let plain =
            |character: &char| character.is_ascii_alphanumeric() || "_-".contains(*character);
        if name.len() <= LENGTH && name.chars().all(|character| plain(&character)) {
            return Cow::Borrowed(name);
        }
        let kept = name
            .chars()
            .map(|character| if plain(&character) { character } else { '_' })
            .take(KEPT);
        let digest = Sha256::digest(name.as_bytes());
        let mut sent: String = kept.collect();
        sent.push('_');
        for byte in digest.iter().take(4) {
            // Writing into a string has no way to fail.
            let _ = write!(sent, "{byte:02x}");
        }
        self.0
            .entry(sent.clone())
            .or_insert_with(|| name.to_owned());
        Cow::Owned(sent)
    }

    /// The client's name for one that the upstream used.
    pub(super) fn original<'a>(&'a self, sent: &'a str) -> &'a str {
        self.0.get(sent).map_or(sent, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn a_name_that_is_accepted_stays() {
        let mut names = Names::default();
        let name = "mcp__server__do-it".to_owned() + &"x".repeat(46);
        assert_eq!(name.len(), 64);
        assert_eq!(names.sent(&name), name);
        assert_eq!(names.original(&name), name);
    }

    #[test]
    fn another_is_cut_told_apart_and_found_again() {
        let mut names = Names::default();
        let [one, other] = ["a", "b"].map(|last| "long_".repeat(20) + last);
        let odd = "files.read:über";
        let sent: Vec<_> = [one.as_str(), &other, odd]
            .into_iter()
            .map(|name| (names.sent(name).into_owned(), name))
            .collect();
        for (sent, name) in &sent {
            assert!(sent.len() <= 64 && sent.is_ascii());
            assert_eq!(names.original(sent), *name);
            assert_eq!(names.sent(name), *sent);
        }
        assert_ne!(sent[0].0, sent[1].0);
        assert_eq!(&sent[2].0[..16], "files_read__ber_");
    }
}
