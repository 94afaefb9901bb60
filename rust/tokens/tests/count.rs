//! What is counted, against published counts and a tokenizer small enough to count by hand.

#![expect(
    clippy::unwrap_used,
    reason = "a failing test panics, also in what its tests share"
)]

use std::time::{Duration, Instant};

use fault::Kind;
use serde_json::{Value, json};
use tokens::{Counter, Encoding, Parts};

/// A file in the form of Qwen3's, whose only words are "hello", " world" and "é".
fn tiny() -> Value {
    let merges = [
        ["h", "e"],
        ["l", "l"],
        ["he", "ll"],
        ["hell", "o"],
        ["Ġ", "w"],
        ["o", "r"],
        ["Ġw", "or"],
        ["l", "d"],
        ["Ġwor", "ld"],
        ["Ġ", "Ġ"],
        ["Ã", "©"],
    ];
    let words = merges.iter().map(|pair| pair.concat());
    let vocabulary: serde_json::Map<String, Value> = alphabet()
        .map(String::from)
        .chain(words)
        .zip(0..)
        .map(|(word, id): (String, u32)| (word, id.into()))
        .collect();
    let end = json!({
        "id": vocabulary.len(), "content": "<|im_end|>", "special": true, "normalized": false,
        "single_word": false, "lstrip": false, "rstrip": false,
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [end],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"},
                "behavior": "Isolated",
                "invert": false,
            },
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        ]},
        "post_processor": null,
        "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary, "merges": merges,
        },
    })
}

/// The characters that stand for the 256 bytes: a printable one for itself, the others from U+0100 on.
fn alphabet() -> impl Iterator<Item = char> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let bytes: Vec<u8> = (0..=u8::MAX).filter(printable).collect();
    let others = ('\u{100}'..='\u{1FF}').take(256 - bytes.len());
    bytes.into_iter().map(char::from).chain(others)
}

fn load(content: &Value) -> Counter {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content.to_string()).unwrap();
    Counter::from_file(file.path()).unwrap()
}

/// Source: `OpenAI` Cookbook, "How to count tokens with tiktoken".
#[test]
fn counts_as_openai_publishes() {
    let messages = [
        (
            "",
            "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
        ),
        (
            "example_user",
            "New synergies will help drive top-line growth.",
        ),
        (
            "example_assistant",
            "Things working well together will increase revenue.",
        ),
        (
            "example_user",
            "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
        ),
        (
            "example_assistant",
            "Let's talk later when we're less busy about how to do better.",
        ),
        (
            "",
            "This late pivot means we don't have time to boil the ocean for the client deliverable.",
        ),
    ];
    // 3 and the role for a message, 1 for having a name, 3 for the reply.
    let frame = 6 * (3 + 1) + 4 + 3;
    for (encoding, japanese, all) in [(Encoding::Cl100k, 9, 129), (Encoding::O200k, 8, 124)] {
        let counter = Counter::built_in(encoding);
        assert_eq!(counter.count(""), 0);
        assert_eq!(counter.count("tiktoken is great!"), 6);
        assert_eq!(counter.count("antidisestablishmentarianism"), 6);
        assert_eq!(counter.count("2 + 2 = 4"), 7);
        assert_eq!(counter.count("お誕生日おめでとう"), japanese);
        let texts: u64 = messages
            .iter()
            .map(|(name, text)| counter.count(name) + counter.count(text))
            .sum();
        assert_eq!(texts + frame, all, "{encoding:?}");
    }
}

#[test]
fn counts_by_a_tokenizer_file() {
    let counter = load(&tiny());
    for (text, tokens) in [
        ("", 0),
        ("hello", 1),
        ("hello world", 2),
        // The last of several spaces belongs to the word.
        ("hello   world", 3),
        // A merge that another has taken its letters from does not happen.
        ("helloworld", 4),
        // Composed before it is counted.
        ("e\u{301}", 1),
        ("漢", 3),
        ("\0", 1),
        ("hello<|im_end|>", 2),
    ] {
        assert_eq!(counter.count(text), tokens, "{text:?}");
    }
}

#[test]
fn adds_and_drops_nothing_that_a_file_asks_for_around_a_text() {
    let mut content = tiny();
    content["truncation"] = json!({
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0,
    });
    content["padding"] = json!({
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "!",
    });
    content["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<|im_end|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            "<|im_end|>": {"id": "<|im_end|>", "ids": [267], "tokens": ["<|im_end|>"]},
        },
    });
    assert_eq!(load(&content).count("hello world hello"), 1 + 1 + 2);
}

#[test]
fn counts_characters_where_a_file_knows_no_word_for_them() {
    let content = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"hello": 0}, "unk_token": "absent"},
    });
    let counter = load(&content);
    assert_eq!(counter.count("hello"), 1);
    assert_eq!(counter.count("漢字"), 2);
}

#[test]
fn says_which_file_is_no_tokenizer_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut merge_of_nothing = tiny();
    merge_of_nothing["model"]["merges"] = json!([["hello", "nothing"]]);
    let mut no_expression = tiny();
    no_expression["pre_tokenizer"]["pretokenizers"][0]["pattern"] = json!({"Regex": "("});
    for (content, why) in [
        ("", "EOF"),
        ("{}", "Model missing"),
        ("[1]", "expected"),
        (&merge_of_nothing.to_string(), "nothing"),
        (&no_expression.to_string(), "parenthesis"),
    ] {
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, content).unwrap();
        let fault = Counter::from_file(&path).err().unwrap();
        assert_eq!(fault.kind, Kind::Config);
        assert!(
            fault.message.contains(path.to_str().unwrap()),
            "{}",
            fault.message
        );
        assert!(fault.message.contains(why), "{}", fault.message);
    }
    let absent = folder.path().join("absent.json");
    let fault = Counter::from_file(&absent).err().unwrap();
    assert_eq!(fault.kind, Kind::Config);
    assert!(
        fault.message.contains(absent.to_str().unwrap()),
        "{}",
        fault.message
    );
    assert!(fault.message.contains("os error 2"), "{}", fault.message);
}

/// Figures of Qwen3's chat template, rendered with and without each part.
#[test]
fn a_request_is_its_texts_and_the_frame_of_a_template() {
    let counter = load(&tiny());
    let count = |texts: &[&str], parts| counter.count_request(texts.iter().copied(), parts);
    let one = Parts {
        messages: 1,
        ..Parts::default()
    };
    assert_eq!(count(&[], one), 8);
    assert_eq!(count(&["hello", "hello world"], one), 8 + 3);
    let tools = Parts {
        messages: 3,
        tools: 2,
        tool_calls: 1,
    };
    assert_eq!(count(&["hello"], tools), 1 + 3 + 3 * 5 + 78 + 2 + 12);
}

#[test]
fn is_shared_between_threads() {
    let counter = load(&tiny());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let counter = counter.clone();
            std::thread::spawn(move || counter.count("hello world"))
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 2);
    }
}

/// As one piece, this overflows the stack of the splitting expression.
#[test]
fn counts_a_megabyte_of_space() {
    let spaces = format!("{}x", " ".repeat(1_100_000));
    // 128 are one token, and each cut may add one.
    let tokens = Counter::built_in(Encoding::O200k).count(&spaces);
    assert!((8_594..8_594 + 68).contains(&tokens), "{tokens}");
}

#[test]
fn takes_time_in_proportion_to_the_text() {
    const BYTES: usize = 32 * 1024;
    for counter in [Counter::built_in(Encoding::O200k), load(&tiny())] {
        for unit in ["a", " ", "😀", "\0", "\n", "'", "<|im_end"] {
            let time = |bytes: usize| -> Duration {
                let text = unit.repeat(bytes / unit.len());
                let start = Instant::now();
                assert!(counter.count(&text) > 0);
                start.elapsed()
            };
            time(BYTES);
            // Eight times the text takes 8 times as long, or 64 times if each byte looks at the
            // others. Another process may take the core now and then, but not each time.
            let ratio = || time(8 * BYTES).as_secs_f64() / time(BYTES).as_secs_f64();
            let in_proportion = (0..5).any(|_| ratio() < 20.0);
            assert!(in_proportion, "{unit:?}");
        }
    }
}
