//! What is to change in a body, by place; everything else stays as it stands.

use std::borrow::Cow;
use std::mem;
use std::ops::Range;

use bytes::Bytes;

use crate::scan::{Members, Shape, Value};

/// An unchanged stretch shorter than this is copied to its neighbours: many small pieces cost more
/// to send.
const SLICE_BYTES: usize = 4096;

/// Changes to a body that has been found valid.
#[derive(Debug)]
pub(super) struct Edits<'a> {
    body: &'a Bytes,
    /// What stands there, and what is to stand there; none overlaps another.
    list: Vec<(Range<usize>, Cow<'static, [u8]>)>,
}

/// A member of an object, or an element of an array.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// The member's name, unescaped; empty for an element.
    pub(super) name: Cow<'a, str>,
    pub(super) value: Value,
    /// The value, and the name before it.
    pub(super) span: Range<usize>,
}

/// The items of an array or object, found one after the other.
pub(super) struct Items<'a> {
    bytes: &'a [u8],
    start: usize,
    members: Option<Members<'a>>,
}

impl<'a> Edits<'a> {
    pub(super) const fn new(body: &'a Bytes) -> Self {
        Self {
            body,
            list: Vec::new(),
        }
    }

    /// The body's one value.
    pub(super) fn root(&self) -> Value {
        let space = self.body.len() - self.body.trim_ascii_start().len();
        Value {
            shape: Shape::Object,
            span: space..self.body.trim_ascii_end().len(),
        }
    }

    /// The bytes at `span`.
    pub(super) fn raw(&self, span: &Range<usize>) -> &'a [u8] {
        self.body.get(span.clone()).unwrap_or_default()
    }

    /// The text of a string; `None` for any other value, and for one with a lone surrogate.
    pub(super) fn text(&self, value: &Value) -> Option<Cow<'a, str>> {
        (value.shape == Shape::String).then_some(())?;
        unescaped(self.raw(&value.span))
    }

    /// What `value` consists of; nothing if it is no array or object.
    pub(super) fn items(&self, value: &Value) -> Items<'a> {
        let bytes = self.raw(&value.span);
        let members = match value.shape {
            Shape::Object => Members::of(bytes).ok(),
            Shape::Array => Members::of_array(bytes).ok(),
            _ => None,
        };
        Items {
            bytes,
            start: value.span.start,
            members,
        }
    }

    /// The members `names` of an object; the last of each counts.
    pub(super) fn members<const N: usize>(
        &self,
        object: &Value,
        names: [&str; N],
    ) -> [Option<Value>; N] {
        let mut found = [const { None }; N];
        if object.shape != Shape::Object {
            return found;
        }
        for Item { name, value, .. } in self.items(object) {
            for (slot, _) in found
                .iter_mut()
                .zip(names)
                .filter(|(_, known)| name == *known)
            {
                *slot = Some(value.clone());
            }
        }
        found
    }

    /// Puts `bytes` at the place of `span`.
    pub(super) fn replace(&mut self, span: Range<usize>, bytes: impl Into<Cow<'static, [u8]>>) {
        self.list.push((span, bytes.into()));
    }

    /// Puts `bytes` before what stands at `place`.
    pub(super) fn insert(&mut self, place: usize, bytes: impl Into<Cow<'static, [u8]>>) {
        self.replace(place..place, bytes);
    }

    /// Takes out the items of `container` for which `stays` says no, with their commas; changes
    /// that it noted inside them are forgotten. Returns whether anything is left, or never was
    /// there.
    pub(super) fn retain(
        &mut self,
        container: &Value,
        mut stays: impl FnMut(&mut Self, &Item<'a>) -> bool,
    ) -> bool {
        let mut any_stays = false;
        let mut gone_in_front: Option<Range<usize>> = None;
        let mut previous_end = 0;
        for item in self.items(container) {
            let known = self.list.len();
            let Range { start, end } = item.span;
            if stays(self, &item) {
                any_stays = true;
                if let Some(gone) = gone_in_front.take() {
                    self.replace(gone.start..start, &b""[..]);
                }
            } else {
                self.list.truncate(known);
                if any_stays {
                    self.replace(previous_end..end, &b""[..]);
                } else {
                    gone_in_front.get_or_insert(start..end).end = end;
                }
            }
            previous_end = end;
        }
        let emptied = gone_in_front.is_some();
        if let Some(gone) = gone_in_front {
            self.replace(gone, &b""[..]);
        }
        !emptied
    }

    /// The changed body.
    pub(super) fn pieces(mut self) -> Vec<Bytes> {
        // What is inserted before a value comes before what replaces it; else they stay in the
        // order they were noted in.
        self.list.sort_by_key(|(span, _)| (span.start, span.end));
        let mut pieces = Pieces::default();
        let mut at = 0;
        for (span, bytes) in &self.list {
            pieces.keep(self.body, at..span.start);
            pieces.fresh.extend_from_slice(bytes);
            at = span.end;
        }
        pieces.keep(self.body, at..self.body.len());
        pieces.flush();
        pieces.done
    }
}

#[derive(Default)]
struct Pieces {
    done: Vec<Bytes>,
    fresh: Vec<u8>,
}

impl Pieces {
    fn keep(&mut self, body: &Bytes, span: Range<usize>) {
        if span.len() >= SLICE_BYTES || span == (0..body.len()) {
            self.flush();
            self.done.push(body.slice(span));
        } else {
            self.fresh
                .extend_from_slice(body.get(span).unwrap_or_default());
        }
    }

    fn flush(&mut self) {
        if !self.fresh.is_empty() {
            self.done.push(mem::take(&mut self.fresh).into());
        }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let (key, mut value) = self.members.as_mut()?.next().ok()??;
        let name = self
            .bytes
            .get(key.clone())
            .and_then(unescaped)
            .unwrap_or_default();
        let start = if key.is_empty() {
            value.span.start
        } else {
            key.start
        };
        value.span = value.span.start + self.start..value.span.end + self.start;
        Some(Item {
            name,
            span: start + self.start..value.span.end,
            value,
        })
    }
}

/// The text of a JSON string; `None` if it holds a lone surrogate.
fn unescaped(json: &[u8]) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') {
        return serde_json::from_slice(json).ok().map(Cow::Owned);
    }
    std::str::from_utf8(inner).ok().map(Cow::Borrowed)
}
