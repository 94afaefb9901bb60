//! Every golden transcript, without sockets: request, answer, stream, refusal.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "what a case lacks ends its test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;
use wire::translate::{self, Memory, Order, Profile, Progress, Stamp, Translated};
use wire::{Dialect, Frames, Operation, Refusal};

const STAMP: Stamp<'static> = Stamp {
    request_id: "req_test",
    now_s: 0,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    rows: Vec<String>,
    client: String,
    #[expect(dead_code, reason = "for the table in docs/")]
    feature: String,
    outcome: String,
    #[expect(dead_code, reason = "for the table in docs/")]
    says: String,
    profile: Profile,
    operation: Option<String>,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default = "ok")]
    upstream_status: u16,
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    #[serde(default)]
    upstream_headers: BTreeMap<String, String>,
}

const fn ok() -> u16 {
    200
}

struct Case {
    name: String,
    folder: PathBuf,
    about: About,
}

/// What a client gets.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    status: u16,
    stream: bool,
    body: String,
    headers: BTreeMap<String, String>,
}

impl Case {
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/transcripts");
        let mut cases: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .map(|folder| {
                let name = folder.file_name().unwrap().to_string_lossy().into_owned();
                let text = fs::read_to_string(folder.join("case.json"))
                    .unwrap_or_else(|error| panic!("{name}: case.json: {error}"));
                let about = serde_json::from_str(&text)
                    .unwrap_or_else(|error| panic!("{name}: case.json: {error}"));
                Self {
                    name,
                    folder,
                    about,
                }
            })
            .collect();
        cases.sort_by(|one, other| one.name.cmp(&other.name));
        cases
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok()
    }

    fn dialect(&self) -> Dialect {
        Dialect::parse(&self.about.client).unwrap()
    }

    fn operation(&self) -> Operation {
        match (&self.about.operation, self.dialect()) {
            (Some(word), _) => Operation::parse(word).unwrap(),
            (None, Dialect::Anthropic) => Operation::Messages,
            (None, Dialect::OpenAi) => Operation::ChatCompletions,
        }
    }

    fn upstream_answer(&self) -> Option<(String, bool)> {
        let stream = self.file("upstream_answer.sse").map(|text| (text, true));
        let whole = ["upstream_answer.json", "upstream_answer.txt"]
            .into_iter()
            .find_map(|name| self.file(name));
        stream.or(whole.map(|text| (text, false)))
    }

    /// The request translated, and what the client gets; the upstream's stream is cut at `cuts`.
    fn run(&self, cuts: &dyn Fn(usize) -> Vec<usize>) -> (Option<String>, Option<Got>) {
        let body = self.file("request.json").expect("request.json");
        let refused = |fault: &fault::Fault| {
            let refusal = Refusal::of(fault, self.dialect(), STAMP.request_id);
            (None, Some(told(&refusal)))
        };
        if let Err(fault) = wire::peek(body.as_bytes(), self.operation()) {
            return refused(&fault);
        }
        let order = Order {
            operation: self.operation(),
            body: body.as_bytes(),
            profile: &self.about.profile,
            wire_model: "upstream-model",
        };
        let (sent, memory, dropped) = match translate::request(&order) {
            Err(fault) => return refused(&fault),
            Ok(Translated::Answer(known)) => {
                let body = text(known.body);
                return (None, Some(Got::of(200, known.stream, body)));
            }
            Ok(Translated::Count(body)) => return (Some(text(body)), None),
            Ok(Translated::Request(request)) => {
                (text(request.body), request.memory, request.dropped.header())
            }
        };
        let mut got = self.answered(memory, cuts);
        if let (Some(got), Some(dropped)) = (&mut got, dropped) {
            got.headers.insert("x-gateway-dropped".to_owned(), dropped);
        }
        (Some(sent), got)
    }

    fn answered(&self, memory: Memory, cuts: &dyn Fn(usize) -> Vec<usize>) -> Option<Got> {
        let (answer, stream) = self.upstream_answer()?;
        let status = self.about.upstream_status;
        if status != 200 {
            return Some(told(&translate::refusal(
                self.dialect(),
                status,
                answer.as_bytes(),
            )));
        }
        if stream {
            return Some(streamed(memory, answer.as_bytes(), &cuts(answer.len())));
        }
        Some(match memory.answer(answer.as_bytes(), STAMP) {
            Ok(answer) => {
                let mut got = Got::of(200, false, text(answer.body));
                let id = answer.upstream_id;
                got.headers
                    .extend(id.map(|id| ("x-upstream-id".to_owned(), id)));
                got
            }
            Err(refusal) => told(&refusal),
        })
    }

    fn check(&self, cuts: &dyn Fn(usize) -> Vec<usize>) -> Vec<String> {
        let (sent, got) = self.run(cuts);
        let mut wrong = Vec::new();
        if let Some(expected) = self.file("upstream_request.json") {
            let expected = compact(&expected);
            let sent = sent.as_deref().map(compact);
            if sent.as_ref() != Some(&expected) {
                wrong.push(format!(
                    "upstream request\n  expected {expected}\n  got      {sent:?}\n  client   {got:?}"
                ));
            }
        }
        let json = self.file("answer.json").map(|text| (compact(&text), false));
        let sse = self.file("answer.sse").map(|text| (text, true));
        if let Some((expected, stream)) = json.or(sse) {
            let got = got.unwrap_or_else(|| Got::of(0, false, "no answer".to_owned()));
            let body = if got.stream {
                got.body.clone()
            } else {
                compact(&got.body)
            };
            if (got.status, got.stream, &body) != (self.about.status, stream, &expected) {
                let status = self.about.status;
                wrong.push(format!(
                    "answer\n  expected {status} {expected}\n  got      {} {body}",
                    got.status
                ));
            }
            // `retry-after` and the like come from the upstream's headers, which only HTTP has.
            if self.about.upstream_headers.is_empty() {
                for (name, expected) in &self.about.headers {
                    if got.headers.get(name) != expected.as_ref() {
                        wrong.push(format!("header {name}: {:?}", got.headers.get(name)));
                    }
                }
            }
        }
        wrong
    }
}

impl Got {
    fn of(status: u16, stream: bool, body: String) -> Self {
        Self {
            status,
            stream,
            body: alike(&body),
            headers: BTreeMap::new(),
        }
    }
}

fn told(refusal: &Refusal) -> Got {
    let answer = refusal.answer(STAMP.request_id);
    let mut got = Got::of(answer.status, false, text(answer.body));
    let headers = answer.headers.into_iter();
    got.headers = headers
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    got
}

fn streamed(memory: Memory, answer: &[u8], cuts: &[usize]) -> Got {
    let mut stream = memory.stream(STAMP);
    let mut frames = Frames::new();
    let mut out = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([answer.len()]) {
        let piece = bytes::Bytes::copy_from_slice(&answer[start..end]);
        start = end;
        if let Some(ready) = frames.push_ready(piece).unwrap() {
            stream.push(&ready, &mut out);
        }
    }
    if matches!(stream.progress(), Progress::Open | Progress::Finishing) {
        let tail = frames.finish().unwrap_or_default();
        stream.close(&tail, &mut out);
    }
    let mut got = match stream.progress() {
        Progress::Broken(refusal) if out.is_empty() => return told(&refusal),
        Progress::Broken(refusal) => {
            out.extend(refusal.event(STAMP.request_id));
            Got::of(200, true, text(out))
        }
        Progress::Complete => Got::of(200, true, text(out)),
        unfinished => panic!("a closed stream is {unfinished:?}"),
    };
    let id = stream.upstream_id().map(ToOwned::to_owned);
    got.headers
        .extend(id.map(|id| ("x-upstream-id".to_owned(), id)));
    got
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("UTF-8")
}

/// `text` with what differs from run to run made the same.
fn alike(text: &str) -> String {
    let Some((before, after)) = text.split_once("toolu_gw_") else {
        return text.to_owned();
    };
    let id_bytes = after.bytes().take_while(u8::is_ascii_alphanumeric).count();
    format!("{before}toolu_gw_test{}", alike(&after[id_bytes..]))
}

/// JSON without the spaces between its parts; other text as it is.
fn compact(json: &str) -> String {
    if serde_json::from_str::<&RawValue>(json.trim()).is_err() {
        return json.to_owned();
    }
    let (mut in_string, mut escaped) = (false, false);
    json.chars()
        .filter(|&character| {
            let space = !in_string && character.is_whitespace();
            if escaped {
                escaped = false;
            } else if in_string && character == '\\' {
                escaped = true;
            } else if character == '"' {
                in_string = !in_string;
            }
            !space
        })
        .collect()
}

fn failures(cuts: &dyn Fn(usize) -> Vec<usize>, only_streams: bool) -> Vec<String> {
    Case::all()
        .iter()
        .filter(|case| !only_streams || case.file("upstream_answer.sse").is_some())
        .flat_map(|case| {
            let wrong = case.check(cuts).into_iter();
            wrong.map(|wrong| format!("{}: {wrong}", case.name))
        })
        .collect()
}

#[test]
fn every_transcript_comes_out_as_written() {
    let wrong = failures(&|_| Vec::new(), false);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn however_a_stream_is_cut_the_same_bytes_come_out() {
    let wrong = failures(&|length| (1..length).collect(), true);
    assert!(wrong.is_empty(), "byte by byte\n{}", wrong.join("\n"));
    for step in [2, 3, 7, 64, 1000] {
        let wrong = failures(&|length| (1..length).step_by(step).collect(), true);
        assert!(wrong.is_empty(), "every {step}\n{}", wrong.join("\n"));
    }
}

#[test]
fn every_case_says_what_it_is_about() {
    for case in Case::all() {
        let Case { name, about, .. } = &case;
        assert!(!about.rows.is_empty(), "{name}");
        let outcomes = ["maps", "drops", "refuses"];
        assert!(outcomes.contains(&about.outcome.as_str()), "{name}");
        let answers = ["answer.json", "answer.sse", "upstream_request.json"];
        assert!(
            answers.iter().any(|file| case.file(file).is_some()),
            "{name} expects nothing"
        );
    }
}
