use proptest::prelude::*;

use super::{PICTURE_TOKENS, input_bound_tokens, media_bound_tokens};

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg";

fn base64(bytes: usize) -> String {
    PNG.repeat(bytes / PNG.len() + 1)[..bytes].to_owned()
}

fn message(content: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{content}]}}]}}"#)
}

fn picture(bytes: usize) -> String {
    let data = base64(bytes);
    format!(
        r#"{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}"#
    )
}

#[test]
fn text_is_a_token_every_three_bytes() {
    for text in [
        "the quick brown fox jumps over the lazy dog; ".repeat(500),
        "   12\\t    if let Some(\\\"name\\\") = words {\\n".repeat(500),
        "日本語のテキスト".repeat(500),
    ] {
        let body = message(&format!(r#"{{"type":"text","text":"{text}"}}"#));
        let expected = (body.len() as u64).div_ceil(3);
        assert_eq!(input_bound_tokens(body.as_bytes()), expected);
    }
    assert_eq!(input_bound_tokens(b""), 0);
    assert_eq!(input_bound_tokens(b"{}"), 1);
}

#[test]
fn a_picture_is_not_taken_for_its_bytes() {
    let around = input_bound_tokens(message(&picture(0)).as_bytes());
    let screenshot = message(&picture(1_400_000));
    let tokens = input_bound_tokens(screenshot.as_bytes());
    assert_eq!(media_bound_tokens(screenshot.as_bytes()), 1600 + 700);
    assert!((2300..2310 + around).contains(&tokens), "{tokens}");

    let two = message(&format!("{},{}", picture(9_000), picture(50_000)));
    assert_eq!(media_bound_tokens(two.as_bytes()), 1600 + 4 + 1600 + 25);
}

#[test]
fn every_way_to_send_data_is_known() {
    let data = base64(40_000);
    let escaped = data.replace('/', r"\/");
    let pdf = format!("JVBERi0xLjcK{}", base64(39_988));
    for (content, tokens) in [
        (
            format!(r#"{{"source":{{"data" : "{data}","type":"base64"}}}}"#),
            1620,
        ),
        (
            format!(r#"{{"source":{{"data":"{escaped}"}}}}"#),
            1600 + escaped.len() as u64 / 2000,
        ),
        (
            format!(r#"{{"image_url":{{"url":"data:image/png;base64,{data}"}}}}"#),
            1620,
        ),
        (
            format!(r#"{{"input_audio":{{"data":"{data}","format":"wav"}}}}"#),
            1620,
        ),
        (
            format!(r#"{{"source":{{"media_type":"application/pdf","data":"{pdf}"}}}}"#),
            3600,
        ),
        (
            format!(r#"{{"file":{{"file_data":"data:application/pdf;base64,{pdf}"}}}}"#),
            3600,
        ),
    ] {
        let body = message(&content);
        assert_eq!(media_bound_tokens(body.as_bytes()), tokens, "{content:.80}");
    }
}

#[test]
fn data_inside_a_text_is_text() {
    let data = base64(40_000);
    for text in [
        data.clone(),
        format!(r#"{{\"data\":\"{data}\"}}"#),
        format!(r#"{{\"url\":\"data:image/png;base64,{data}\"}}"#),
        format!("src=data:image/png;base64,{data}"),
        format!("data: base64,{data}"),
    ] {
        let body = message(&format!(r#"{{"type":"text","text":"see {text}"}}"#));
        assert_eq!(media_bound_tokens(body.as_bytes()), 0, "{text:.60}");
        assert!(input_bound_tokens(body.as_bytes()) > 13_000);
    }
    let small = message(&picture(1000));
    let all = (small.len() as u64).div_ceil(3);
    assert_eq!(
        input_bound_tokens(small.as_bytes()),
        all,
        "too small to matter"
    );
}

proptest! {
    #[test]
    fn a_picture_is_found_wherever_it_stands(
        before in 0..9000_usize,
        bytes in 2200..20_000_usize,
        after in 0..9000_usize,
    ) {
        let (before, after) = ("word ".repeat(before / 5), "word ".repeat(after / 5));
        let body = message(&format!(r#"{{"text":"{before}"}},{},{{"text":"{after}"}}"#, picture(bytes)));
        let expected = PICTURE_TOKENS + bytes as u64 / 2000;
        prop_assert_eq!(media_bound_tokens(body.as_bytes()), expected);
    }

    #[test]
    fn no_bytes_make_it_fail(
        parts in prop::collection::vec(
            prop_oneof![
                Just(picture(3000)), Just(base64(2100)), Just("\"data\":\"".to_owned()),
                Just("\"data:a;base64,".to_owned()), Just("\\".repeat(5000)), ".{0,50}",
            ],
            0..9,
        ),
    ) {
        let body = parts.concat();
        let tokens = input_bound_tokens(body.as_bytes());
        prop_assert!(tokens <= body.len() as u64 + PICTURE_TOKENS);
    }
}
