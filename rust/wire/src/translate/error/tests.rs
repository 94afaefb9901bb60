use fault::Kind;

use super::{refusal, stream_refusal};
use crate::Dialect::{self, Anthropic, OpenAi};

// The upstream's status; status and type for an Anthropic client; status, type and code for an OpenAI client; what it counts as.
const TABLE: &str = "
    400 400 invalid_request_error  400 invalid_request_error null                invalid_request
    401 502 api_error              502 server_error          upstream_error      upstream_error
    402 402 billing_error          402 insufficient_quota    insufficient_quota  upstream_error
    403 502 api_error              502 server_error          upstream_error      upstream_error
    404 404 not_found_error        404 invalid_request_error model_not_found     invalid_request
    405 405 invalid_request_error  405 invalid_request_error null                invalid_request
    408 408 timeout_error          408 server_error          timeout             upstream_timeout
    413 413 request_too_large      413 invalid_request_error request_too_large   invalid_request
    418 418 invalid_request_error  418 invalid_request_error null                invalid_request
    422 400 invalid_request_error  400 invalid_request_error null                invalid_request
    429 429 rate_limit_error       429 rate_limit_error      rate_limit_exceeded overloaded
    500 500 api_error              500 server_error          null                upstream_error
    501 501 api_error              501 server_error          null                upstream_error
    502 502 api_error              502 server_error          upstream_error      upstream_error
    503 529 overloaded_error       503 server_error          overloaded          overloaded
    504 504 timeout_error          504 server_error          timeout             upstream_timeout
    529 529 overloaded_error       503 server_error          overloaded          overloaded
    302 502 api_error              502 server_error          upstream_error      upstream_error
    600 502 api_error              502 server_error          upstream_error      upstream_error";

const ODD: &[u8] =
    br#"{"error":{"message":"why","type":"BadRequestError","param":"p","code":"odd"}}"#;

fn message(client: Dialect, status: u16, body: &str) -> String {
    refusal(client, status, body.as_bytes()).message
}

/// What an Anthropic client reads when the upstream said `message` with `status`, without what the upstream said itself.
fn told(status: u16, message: &str) -> String {
    let body = serde_json::json!({"error": {"message": message, "type": "BadRequestError", "code": status}});
    let refusal = refusal(Anthropic, status, body.to_string().as_bytes());
    assert_eq!(
        (refusal.status, refusal.kind),
        (400, "invalid_request_error"),
        "{message}"
    );
    assert_eq!(refusal.fault, Kind::InvalidRequest);
    let said = refusal.message.strip_suffix(&format!(" ({message})"));
    said.unwrap_or_else(|| panic!("{}", refusal.message))
        .to_owned()
}

#[test]
fn every_status_has_its_words_in_both_dialects() {
    for row in TABLE.lines().skip(1) {
        let row: Vec<&str> = row.split_whitespace().collect();
        let status = row[0].parse().unwrap();
        let anthropic = refusal(Anthropic, status, ODD);
        assert_eq!(
            [&*anthropic.status.to_string(), anthropic.kind],
            row[1..3],
            "{status}"
        );
        assert_eq!(anthropic.code, None);
        let openai = refusal(OpenAi, status, ODD);
        let code = openai.code.unwrap_or("null");
        assert_eq!(
            [&*openai.status.to_string(), openai.kind, code],
            row[3..6],
            "{status}"
        );
        for refusal in [anthropic, openai] {
            assert_eq!(refusal.fault.as_str(), row[6], "{status}");
            let credentials = matches!(status, 401 | 403);
            let should_retry = credentials.then_some(false);
            assert_eq!(
                (refusal.retry_after_s, refusal.should_retry),
                (None, should_retry)
            );
            let expected = if credentials {
                "upstream credentials were refused"
            } else {
                "why"
            };
            assert_eq!(refusal.message, expected);
            assert_eq!(refusal.param, None);
        }
    }
}

#[test]
fn the_message_is_found_in_every_kind_of_body() {
    let none = "upstream gave no reason";
    for (body, expected) in [
        (
            r#"{"error":{"message":"why","type":"t","param":null,"code":400}}"#,
            "why",
        ),
        (
            r#"{"type":"error","error":{"type":"BadRequestError","message":"why"}}"#,
            "why",
        ),
        (
            r#"{"object":"error","message":"why","type":"BadRequestError","code":400}"#,
            "why",
        ),
        (r#"{"error":"why"}"#, "why"),
        (r#"{"detail":"why"}"#, "why"),
        (
            r#"{"detail":[{"loc":["body","messages",0],"msg":"field required"},{"msg":"b"},"c",1]}"#,
            "body.messages.0: field required; b; c; 1",
        ),
        (r#"{"message":"why"}"#, "why"),
        (r#" [ {"error":{"message":"why"}}, {} ] "#, "why"),
        (
            r#"{"error":{"message":"wh\u00ff\ny\r\n\u0007 \u2028x"}}"#,
            "whÿ y   x",
        ),
        (r#"{"error":{"message":{"nested": 1}}}"#, r#"{"nested": 1}"#),
        (r#"{"error":{"code":7}}"#, none),
        (r#"{"error":{"message":" \n"}}"#, none),
        ("{}", none),
        ("[]", "[]"),
        ("\"why\"", "why"),
        ("", none),
        (
            "upstream connect error\r\nreset",
            "upstream connect error reset",
        ),
        (
            " <!DOCTYPE html><p>secret",
            "upstream returned an HTML page",
        ),
        ("<?xml?>\n<HTML>", "upstream returned an HTML page"),
        (
            "{\"error\":{\"message\":\"cut",
            "{\"error\":{\"message\":\"cut",
        ),
    ] {
        for client in Dialect::ALL {
            assert_eq!(message(client, 418, body), expected, "{body}");
        }
    }
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let long = "ü".repeat(5000);
    let body = format!(r#"{{"error":{{"message":"{long}"}}}}"#);
    assert_eq!(message(OpenAi, 400, &body), "ü".repeat(2000) + "…");
    assert_eq!(message(Anthropic, 400, &long), "ü".repeat(300) + "…");
    let mut broken = long.into_bytes();
    broken[0] = 0xff;
    assert!(
        refusal(OpenAi, 400, &broken)
            .message
            .starts_with("\u{fffd}\u{fffd}ü")
    );
}

#[test]
fn a_quota_that_is_used_up_is_not_asked_again() {
    for error in [
        r#""type":"insufficient_quota""#,
        r#""code":"insufficient_quota""#,
    ] {
        let body = format!(r#"{{"error":{{"message":"m",{error}}}}}"#);
        let told = refusal(Anthropic, 429, body.as_bytes());
        assert_eq!(
            (told.kind, told.should_retry),
            ("rate_limit_error", Some(false))
        );
        assert_eq!(refusal(Anthropic, 500, body.as_bytes()).should_retry, None);
    }
}

#[test]
fn in_a_stream_the_status_is_the_code_or_what_the_type_word_stands_for() {
    for (error, expected) in [
        (r#"{"code":503}"#, 503),
        (r#"{"code":429,"type":"overloaded_error"}"#, 429),
        (r#"{"type":"overloaded_error"}"#, 529),
        (r#"{"type":"rate_limit_error"}"#, 429),
        (r#"{"type":"invalid_request_error","code":"x"}"#, 400),
        (r#"{"type":"timeout_error","code":null}"#, 504),
        (r#"{"type":"api_error"}"#, 500),
        (r#"{"type":"BadRequestError"}"#, 500),
        (r#"{"code":200}"#, 500),
        (r#"{"code":4e2}"#, 500),
        (r#"{"code":99999}"#, 500),
        ("{}", 500),
        ("7", 500),
    ] {
        for client in Dialect::ALL {
            let body = format!(r#"{{"error":{error}}}"#);
            let told = stream_refusal(client, body.as_bytes());
            let expected = refusal(client, expected, body.as_bytes());
            assert_eq!(told, expected, "{error}");
        }
    }
    let old = br#"{"object":"error","message":"why","type":"BadRequestError","code":404}"#;
    assert_eq!(stream_refusal(Anthropic, old).kind, "not_found_error");
}

#[test]
fn a_prompt_that_cannot_fit_is_told_as_anthropic_does() {
    let room = |prompt: u64| {
        format!(
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens \
             ({prompt} in the messages, 2000 in the completion). Please reduce the length."
        )
    };
    let prompt = |prompt: u64| format!("prompt is too long: {prompt} tokens > 8192 maximum");
    assert_eq!(told(400, &room(9000)), prompt(9000));
    // llama.cpp once said that it was its own fault.
    assert_eq!(told(500, &room(9000)), prompt(9000));
    // Too little room for an answer counts as none; the number told is never one that would fit.
    assert_eq!(told(413, &room(8000)), prompt(8193));
    assert_eq!(told(422, &room(7169)), prompt(8193));
    assert_eq!(
        told(400, &room(7168)),
        "input length and `max_tokens` exceed context limit: 7168 + 2000 > 8192, \
         decrease input length or `max_tokens` and try again"
    );
}

#[test]
fn every_servers_wording_is_understood() {
    let fits = |prompt: u64, output: u64, maximum: u64| {
        format!(
            "input length and `max_tokens` exceed context limit: {prompt} + {output} > {maximum}, \
             decrease input length or `max_tokens` and try again"
        )
    };
    let long = |prompt: u64, maximum: u64| {
        format!("prompt is too long: {prompt} tokens > {maximum} maximum")
    };
    let unknown = || "prompt is too long (capability_rejected: prompt_too_long)".to_owned();
    for (wording, expected) in [
        // OpenAI, and vLLM after it.
        ("This model's maximum context length is 4097 tokens, however you requested 4162 tokens (1090 in your prompt; \
          3072 for the completion). Please reduce your prompt; or completion length.", fits(1090, 3072, 4097)),
        ("This model's maximum context length is 4097 tokens. However, your messages resulted in 192871 tokens. \
          Please reduce the length of the messages.", long(192_871, 4097)),
        ("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (3000 in the messages, \
          5000 in the functions, and 1000 in the completion).", long(8193, 8192)),
        ("Your input exceeds the context window of this model. Please adjust your input and try again.", unknown()),
        // vLLM, older to newer.
        ("'max_tokens' or 'max_completion_tokens' is too large: 8000. This model's maximum context length is 8192 tokens \
          and your request has 500 input tokens (8000 > 8192 - 500).", fits(500, 8000, 8192)),
        ("This model's maximum context length is 8192 tokens. However, your request has 9000 input tokens. Please reduce \
          the length of the input messages.", long(9000, 8192)),
        ("This model's maximum context length is 8192 tokens. However, your request has 500 input tokens.",
            fits(500, 7693, 8192)),
        ("This model's maximum context length is 8192 tokens and your request has 500 input tokens plus 8000 'max_tokens'.",
            fits(500, 8000, 8192)),
        ("maximum context length is 8192: 500 input tokens and 8000 output", fits(500, 8000, 8192)),
        ("This model's maximum context length is 262144 tokens. However, you requested 128000 output tokens and your prompt \
          contains at least 134145 input tokens, for a total of at least 262145 tokens. Please reduce the length of the \
          input prompt or the number of requested output tokens. (parameter=input_tokens, value=134145)",
            long(262_145, 262_144)),
        ("This model's maximum context length is 40960 tokens. However, your prompt contains at least 40961 input tokens, \
          which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. \
          (parameter=input_tokens, value=40961)", long(40961, 40960)),
        ("This model's maximum context length is 40960 tokens. However, your prompt contains 50000 input tokens, \
          which exceeds this limit even without any output tokens.", long(50000, 40960)),
        ("This model's maximum context length is 8192 tokens. However, your prompt contains 900000 characters (more than \
          819200 characters, which is the upper bound for 8192 input tokens). Please reduce the length of the input \
          prompt. (parameter=input_text, value=900000)", unknown()),
        ("The decoder prompt (length 9000) is longer than the maximum model length of 8192. Make sure that \
          `max_model_len` is no smaller than the number of text tokens.", long(9000, 8192)),
        ("The decoder prompt (length 8192) plus the number of requested output tokens (at least 1) is longer than the \
          maximum model length of 8192.", long(8193, 8192)),
        ("max_tokens must be at least 1, got -808. (parameter=max_tokens, value=-808)", unknown()),
        ("This model's maximum context length is 8192 tokens. However, you requested 8000 output tokens and your prompt \
          contains at least 500 input tokens, for a total of at least 8500 tokens.", long(8500, 8192)),
        // SGLang.
        ("Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of 9000 \
          tokens: 1000 tokens from the input messages and 8000 tokens for the completion.", fits(1000, 8000, 8192)),
        ("The input (9000 tokens) is longer than the model's context length (8192 tokens).", long(9000, 8192)),
        ("Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens).", long(160_062, 59862)),
        // llama.cpp, LiteLLM.
        ("request (1407 tokens) exceeds the available context size (256 tokens), try increasing it", long(1407, 256)),
        ("litellm.ContextWindowExceededError: BadRequestError", unknown()),
        // Numbers that contradict each other are made to say what is known: that it does not fit.
        ("maximum context length is 8192 tokens (10 in the messages, 20 in the completion)", fits(10, 8183, 8192)),
        ("maximum context length is 99999999999999999999 tokens (10 in the messages)", unknown()),
        ("maximum context length is 18446744073709551615 tokens (0 in the messages)",
            fits(0, u64::MAX, u64::MAX)),
        // It is the output that is too long, and nobody has counted the prompt.
        ("max_tokens=100000 cannot be greater than max_model_len=8192. Please request fewer output tokens. \
          (parameter=max_tokens, value=100000)",
            "`max_tokens` is too large: 100000 > 8192, the context window of this model; decrease `max_tokens` and try again"
                .to_owned()),
    ] {
        assert_eq!(told(400, wording), expected, "{wording}");
    }
}

#[test]
fn an_overflow_is_also_told_by_its_code_with_any_status() {
    for body in [
        r#"{"error":{"message":"no","code":"context_length_exceeded"}}"#,
        r#"{"error":{"message":"no","type":"exceed_context_size_error"}}"#,
    ] {
        let refusal = refusal(Anthropic, 500, body.as_bytes());
        assert_eq!(
            (refusal.status, refusal.kind),
            (400, "invalid_request_error")
        );
        let expected = "prompt is too long (capability_rejected: prompt_too_long) (no)";
        assert_eq!(refusal.message, expected);
    }
    let counted = r#"{"error":{"code":500,"message":"the request exceeds the available context size. try increasing",
        "type":"exceed_context_size_error","n_prompt_tokens":1407,"n_ctx":256}}"#;
    for refusal in [
        refusal(Anthropic, 500, counted.as_bytes()),
        stream_refusal(Anthropic, counted.as_bytes()),
    ] {
        assert_eq!(refusal.status, 400);
        assert!(
            refusal
                .message
                .starts_with("prompt is too long: 1407 tokens > 256 maximum (the request")
        );
    }
}

#[test]
fn what_only_sounds_alike_is_no_overflow() {
    for (status, said) in [
        (400, "max_tokens must be at least 1, got 0."),
        (400, "the context window is open"),
        (429, "maximum context length is 8192 tokens"),
        (404, "maximum context length is 8192 tokens"),
    ] {
        let body = format!(r#"{{"error":{{"message":"{said}"}}}}"#);
        assert_eq!(message(Anthropic, status, &body), said);
    }
}

#[test]
fn an_openai_client_learns_of_an_overflow_by_its_code() {
    for said in [
        // vLLM, natively.
        "This model's maximum context length is 40960 tokens. However, your prompt contains at least 40961 input tokens",
        "prompt is too long: 200001 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 199759 + 8192 > 200000, decrease input length or \
         `max_tokens` and try again",
    ] {
        let body = format!(
            r#"{{"type":"error","error":{{"type":"invalid_request_error","message":"{said}"}}}}"#
        );
        let told = refusal(OpenAi, 400, body.as_bytes());
        assert_eq!((told.status, told.kind), (400, "invalid_request_error"));
        assert_eq!(told.code, Some("context_length_exceeded"));
        assert_eq!(told.param.as_deref(), Some("messages"));
        assert_eq!(told.message, said);
        // Whatever else is too long, it is not the prompt.
        assert_eq!(refusal(OpenAi, 429, body.as_bytes()).param, None);
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(status in 0u16..1000, body in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        for client in Dialect::ALL {
            let told = refusal(client, status, &body);
            proptest::prop_assert!((400..600).contains(&told.status));
            proptest::prop_assert!(!told.message.contains(char::is_control));
            stream_refusal(client, &body);
        }
    }

    #[test]
    fn no_numbers_make_it_panic(
        wording in "(maximum context length is |prompt contains at least | in the messages|total of at least |[0-9]{1,20}| input tokens| output){1,12}",
    ) {
        let body = serde_json::json!({"error": {"message": wording}}).to_string();
        let told = refusal(Anthropic, 400, body.as_bytes());
        proptest::prop_assert!(told.message.len() < 1000);
    }
}

#[test]
fn a_prompt_that_was_counted_afterwards_is_told_with_its_size() {
    let body = |message: &str| format!(r#"{{"error":{{"message":"{message}","code":400}}}}"#);
    let stopped = body(
        "This model's maximum context length is 8192 tokens. However, you requested 1000 output tokens and your prompt \
         contains at least 7193 input tokens, for a total of at least 8193 tokens.",
    );
    assert!(super::is_uncounted(400, stopped.as_bytes()));
    for (tokens, words) in [
        (9000, "prompt is too long: 9000 tokens > 8192 maximum ("),
        (
            7100,
            "input length and `max_tokens` exceed context limit: 7100 + 1093 > 8192, ",
        ),
    ] {
        let refusal = super::counted_refusal(400, stopped.as_bytes(), tokens);
        assert!(refusal.message.starts_with(words), "{}", refusal.message);
        assert_eq!(
            (refusal.status, refusal.kind),
            (400, "invalid_request_error")
        );
    }
    let counted = body(
        "This model's maximum context length is 8192 tokens. However, your request has 9000 input tokens.",
    );
    assert!(!super::is_uncounted(400, counted.as_bytes()));
    assert!(!super::is_uncounted(400, body("no such thing").as_bytes()));
}
