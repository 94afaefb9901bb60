use bytes::Bytes;
use proptest::prelude::*;

use super::{FrameTooLarge, Frames, data, event_name, split};

fn frames_of(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let mut frames = Frames::new();
    let mut out = Vec::new();
    for chunk in chunks {
        frames
            .push(Bytes::copy_from_slice(chunk), &mut out)
            .unwrap();
    }
    (
        out.iter().map(|frame| frame.to_vec()).collect(),
        frames.finish().map(|rest| rest.to_vec()),
    )
}

// Frames by the rules of the module's first paragraph, one byte after the other.
fn expected_frames(stream: &[u8]) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let mut frames = Vec::new();
    let mut frame: Vec<u8> = Vec::new();
    let mut line_is_empty = true;
    let mut line_before_ended_with_cr = false;
    let mut at = 0;
    while at < stream.len() {
        let line_end: &[u8] = match &stream[at..] {
            [b'\r', b'\n', ..] if !(line_is_empty && line_before_ended_with_cr) => b"\r\n",
            [b'\r', ..]
                if line_is_empty && at + 1 == stream.len() && !line_before_ended_with_cr =>
            {
                frame.push(b'\r');
                break;
            }
            [b'\r', ..] => b"\r",
            [b'\n', ..] => b"\n",
            _ => b"",
        };
        if line_end.is_empty() {
            frame.push(stream[at]);
            line_is_empty = false;
            at += 1;
            continue;
        }
        frame.extend_from_slice(line_end);
        at += line_end.len();
        if line_is_empty {
            frames.push(std::mem::take(&mut frame));
            line_before_ended_with_cr = false;
        } else {
            line_before_ended_with_cr = line_end == b"\r";
        }
        line_is_empty = true;
    }
    (frames, (!frame.is_empty()).then_some(frame))
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(&b"\n"[..]), 2 => Just(&b"\r\n"[..]), 1 => Just(&b"\r"[..]),
        3 => Just(&b"data: x"[..]), 1 => Just("ü\u{2028}".as_bytes()), 1 => Just(&b"event:e"[..]),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn cut<'a>(stream: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|i| i.index(stream.len() + 1)).collect();
    places.push(stream.len());
    places.sort_unstable();
    let mut start = 0;
    places
        .into_iter()
        .map(|end| {
            let chunk = &stream[start..end];
            start = end;
            chunk
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_split_gives_the_same_frames(
        stream in stream(),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let expected = expected_frames(&stream);
        prop_assert_eq!(frames_of(&cut(&stream, &places)), expected.clone());
        let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(frames_of(&bytewise), expected);
    }

    #[test]
    fn ready_batches_hold_the_same_frames_at_once(
        stream in stream(),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (mut one, mut all) = (Frames::new(), Frames::new());
        for chunk in cut(&stream, &places) {
            let chunk = Bytes::copy_from_slice(chunk);
            let mut expected = Vec::new();
            one.push(chunk.clone(), &mut expected).unwrap();
            let ready = all.push_ready(chunk).unwrap();
            prop_assert_eq!(ready.is_some(), !expected.is_empty());
            let ready = ready.unwrap_or_default();
            prop_assert_eq!(split(&ready).collect::<Vec<_>>(), expected);
        }
        prop_assert_eq!(one.finish(), all.finish());
    }

    #[test]
    fn the_limit_holds_however_the_stream_is_cut(
        stream in stream(),
        limit in 1..20_usize,
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (complete, rest) = expected_frames(&stream);
        let fits = complete.iter().chain(&rest).all(|frame| frame.len() <= limit);
        let (mut one, mut all) = (Frames::with_limit(limit), Frames::with_limit(limit));
        let chunks: Vec<Bytes> =
            cut(&stream, &places).into_iter().map(Bytes::copy_from_slice).collect();
        let mut out = Vec::new();
        let pushed: Result<Vec<()>, FrameTooLarge> =
            chunks.iter().map(|chunk| one.push(chunk.clone(), &mut out)).collect();
        let ready: Result<Vec<_>, FrameTooLarge> =
            chunks.iter().map(|chunk| all.push_ready(chunk.clone())).collect();
        prop_assert_eq!((pushed.is_ok(), ready.is_ok()), (fits, fits));
    }
}

#[test]
fn a_frame_within_one_chunk_is_not_copied() {
    let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\nda");
    let mut out = Vec::new();
    Frames::new().push(chunk.clone(), &mut out).unwrap();
    assert_eq!(out[1].as_ptr(), chunk[9..].as_ptr());
    let ready = Frames::new().push_ready(chunk.clone()).unwrap().unwrap();
    assert_eq!((ready.as_ptr(), ready.len()), (chunk.as_ptr(), 18));
}

#[test]
fn waits_after_a_cr_only_where_an_lf_belongs_to_the_frame() {
    let ready = |chunk: &'static [u8]| {
        Frames::new()
            .push_ready(Bytes::from_static(chunk))
            .unwrap()
            .is_some()
    };
    assert!(ready(b"data: a\r\r"), "a stream of CR is not held back");
    assert!(ready(b"data: a\r\n\r\n"));
    assert!(!ready(b"data: a\r\n\r"));
    assert!(!ready(b"data: a\n\r"));
}

#[test]
fn keeps_what_did_not_end() {
    let mut frames = Frames::new();
    assert_eq!(
        frames.push_ready(Bytes::from_static(b"data: a\n")),
        Ok(None)
    );
    assert_eq!(frames.finish().as_deref(), Some(&b"data: a\n"[..]));
    assert_eq!(frames.finish(), None);
}

#[test]
fn reads_fields_as_the_standard_says() {
    for (frame, expected_data, expected_name) in [
        ("data: x\n\n", Some("x"), None),
        ("data:x\r\n\r\n", Some("x"), None),
        ("data:  x\n\n", Some(" x"), None),
        ("data\n\n", Some(""), None),
        (
            "data: a\rdata: b\ndata\r\ndata:c\n\n",
            Some("a\nb\n\nc"),
            None,
        ),
        (
            "\u{feff}event: e\ndata: a\u{2028}b\n\n",
            Some("a\u{2028}b"),
            Some("e"),
        ),
        (
            ": comment\nid: 1\nretry: 2\nevent:a\nevent: b\n\n",
            None,
            Some("b"),
        ),
        ("database: x\neventual: y\n\n", None, None),
        ("", None, None),
    ] {
        assert_eq!(
            data(frame.as_bytes()).as_deref(),
            expected_data.map(str::as_bytes),
            "{frame}"
        );
        assert_eq!(
            event_name(frame.as_bytes()),
            expected_name.map(str::as_bytes),
            "{frame}"
        );
    }
}
