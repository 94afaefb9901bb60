//! A text in pieces small enough to be counted, whatever is in it.

/// The longest piece. In a text as one piece, two million spaces overflow the stack of a splitting
/// expression, and memory is a hundred times the text.
pub(crate) const PIECE_BYTES: usize = 16 * 1024;

/// The pieces of `text`, in order and without a gap, each of at most [`PIECE_BYTES`].
///
/// A cut is made before a space that follows a word, where every tokenizer that splits by GPT's
/// expression splits too: the sum of the counts is that of the whole. Where a piece has no such space
/// the cut is made anywhere, for about one token more.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(cut(rest));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Where the first piece of `text` ends.
fn cut(text: &str) -> usize {
    if text.len() <= PIECE_BYTES {
        return text.len();
    }
    let end = (0..=PIECE_BYTES)
        .rfind(|&at| text.is_char_boundary(at))
        .unwrap_or_default();
    let (window, _) = text.split_at(end);
    window
        .rmatch_indices(' ')
        .map(|(position, _)| position)
        .find(|&position| {
            let (before, _) = window.split_at(position);
            before.ends_with(|last: char| !last.is_whitespace())
        })
        .unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::{PIECE_BYTES, pieces};

    #[test]
    fn loses_nothing_and_keeps_to_the_limit() {
        for text in [
            "",
            "a",
            "a b",
            "x",
            " ",
            "é",
            "漢",
            "😀",
            "word ",
            "\0",
            "x \n  y\t",
        ] {
            for repeat in [1, 2, PIECE_BYTES / 4, PIECE_BYTES, 2 * PIECE_BYTES + 1] {
                let text = text.repeat(repeat);
                let cut: Vec<&str> = pieces(&text).collect();
                assert_eq!(cut.concat(), text);
                assert!(
                    cut.iter()
                        .all(|piece| (1..=PIECE_BYTES).contains(&piece.len()))
                );
                // Two neighbours are longer than one piece may be, or they would be one.
                assert!(
                    cut.len() <= 2 * text.len() / PIECE_BYTES + 2,
                    "{}",
                    cut.len()
                );
            }
        }
    }

    #[test]
    fn cuts_before_the_last_space_that_follows_a_word() {
        let text = format!("{} b  c", "a".repeat(PIECE_BYTES - 4));
        assert_eq!(text.len(), PIECE_BYTES + 1);
        let cut: Vec<&str> = pieces(&text).collect();
        assert_eq!(cut[1], "  c");
    }

    #[test]
    fn a_run_without_a_word_is_cut_at_the_limit() {
        let spaces = " ".repeat(PIECE_BYTES + 3);
        assert_eq!(
            pieces(&spaces).map(str::len).collect::<Vec<_>>(),
            [PIECE_BYTES, 3]
        );
        let han = "漢".repeat(PIECE_BYTES / 3 + 1);
        assert_eq!(
            pieces(&han).map(str::len).collect::<Vec<_>>(),
            [PIECE_BYTES - 1, 3]
        );
    }
}
