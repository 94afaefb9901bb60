use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use wire::translate::{self, Kind, Order, Profile, Stamp, Translated};
use wire::{Dialect, Operation};

use super::{End, FINISH, LINGER, Pump, STALL, Terms};
use crate::client::{Client, Head, Sent};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::record::Record;
use crate::settings::{self, UserLabel};
use crate::voice::Voice;
use crate::watch::Watch;

const IDLE: Duration = Duration::from_secs(240);
const PING: Duration = Duration::from_secs(10);
const START: &str = "event: message_start\ndata: {}\n\n";
const DELTA: &str = "event: content_block_delta\ndata: {}\n\n";
const STOP: &str = "event: message_stop\ndata: {}\n\n";
const ERROR: &str = "event: error\ndata: {\"error\":{\"type\":\"overloaded_error\"}}\n\n";
const FINISHED: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[derive(Clone)]
enum Step {
    Data(&'static str),
    Pause(Duration),
    Silence,
    Reset,
}
use Step::{Data, Pause, Reset, Silence};

/// An upstream's body that does what it is told, then ends.
struct Script {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                std::task::ready!(sleep.as_mut().poll(context));
                self.sleep = None;
            }
            match self.steps.front().cloned() {
                Some(Silence) => return Poll::Pending,
                Some(Pause(time)) => self.sleep = Some(Box::pin(tokio::time::sleep(time))),
                Some(Data(text)) => {
                    self.steps.pop_front();
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))));
                }
                Some(Reset) => {
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
                None => return Poll::Ready(None),
            }
            self.steps.pop_front();
        }
    }
}

/// A client that keeps what it is sent, and may stop reading or leave.
#[derive(Default)]
struct Reader {
    heads: usize,
    parts: Vec<String>,
    is_stuck: bool,
    leaves_after: Option<Duration>,
    held: Vec<oneshot::Sender<()>>,
}

impl Client for Reader {
    async fn send(&mut self, head: Option<Head>, body: Vec<Bytes>, _more: bool) -> Sent {
        self.heads += usize::from(head.is_some());
        self.parts.push(text(&body));
        if self.is_stuck {
            let (held, drained) = oneshot::channel();
            self.held.push(held);
            return Sent::Full(drained);
        }
        Sent::Ready
    }

    fn left(&mut self) -> oneshot::Receiver<()> {
        let (signal, left) = oneshot::channel();
        match self.leaves_after {
            Some(time) => drop(tokio::spawn(async move {
                tokio::time::sleep(time).await;
                let _ = signal.send(());
            })),
            None => self.held.push(signal),
        }
        left
    }
}

fn text(pieces: &[Bytes]) -> String {
    String::from_utf8(pieces.concat()).unwrap()
}

struct Run {
    end: End,
    client: Reader,
    took: Duration,
}

impl Run {
    /// What the end still carries, and whether it is that of a whole answer.
    fn last(&self) -> (String, &'static str) {
        match &self.end {
            End::Complete { last } => (text(last), "complete"),
            End::Told { last } => (text(last), "told"),
            End::Broken { last, refusal } => (text(last), refusal.fault.as_str()),
            End::ClientLeft => (String::new(), "left"),
        }
    }

    fn everything(&self) -> String {
        self.client.parts.concat() + &self.last().0
    }
}

/// A stream that passes as it is, without signs of life.
async fn pumped(dialect: Dialect, steps: &[Step], client: Reader) -> Run {
    pumped_by(dialect, Voice::AsIs(dialect), IDLE * 10, steps, client).await
}

/// An `OpenAI` stream on its way to an Anthropic client.
async fn translated(steps: &[Step]) -> Run {
    let order = Order {
        operation: Operation::Messages,
        body: br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#,
        profile: &Profile::preset(Kind::Vllm),
        wire_model: "m",
    };
    let Translated::Request(request) = translate::request(&order).unwrap() else {
        panic!("no request");
    };
    let stamp = Stamp {
        request_id: "req_1",
        now_s: 0,
    };
    let voice = Voice::Translated(request.memory.stream(stamp));
    pumped_by(Dialect::OpenAi, voice, PING, steps, Reader::default()).await
}

async fn pumped_by(
    upstream: Dialect,
    voice: Voice,
    ping: Duration,
    steps: &[Step],
    mut client: Reader,
) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings::Metrics {
        user_label: UserLabel::None,
        user_series: 0,
    };
    let metrics = Arc::new(Metrics::open(folder.path(), &settings).unwrap());
    let log = Log::start(metrics.log_dropped()).unwrap();
    let record = Record::start(Arc::clone(&metrics), log, Operation::Messages);
    // Dropped, it would write its line on the screen.
    let mut record = ManuallyDrop::new(record);
    let body = Script {
        steps: steps.iter().cloned().collect(),
        sleep: None,
    };
    let began = Instant::now();
    let terms = Terms {
        upstream,
        client: upstream,
        voice,
        produced: None,
        idle: IDLE,
        ping,
        request_id: "req_1",
    };
    let mut pump = Pump::new(Head::new(200), body, terms, &metrics);
    let end = pump
        .run(&mut client, &mut Watch::default(), &mut record)
        .await;
    Run {
        end,
        client,
        took: began.elapsed(),
    }
}

async fn anthropic(steps: &[Step]) -> Run {
    pumped(Dialect::Anthropic, steps, Reader::default()).await
}

async fn openai(steps: &[Step]) -> Run {
    pumped(Dialect::OpenAi, steps, Reader::default()).await
}

#[tokio::test(start_paused = true)]
async fn sends_what_is_ready_in_one_part_and_holds_nothing_back() {
    let pause = Pause(Duration::from_millis(1));
    let run = anthropic(&[
        Data(START),
        Data(DELTA),
        pause.clone(),
        Data(DELTA),
        pause,
        Data(STOP),
    ])
    .await;
    assert_eq!(
        run.client.parts,
        [format!("{START}{DELTA}"), DELTA.to_owned()]
    );
    assert_eq!(run.last(), (STOP.to_owned(), "complete"));
    assert_eq!(run.client.heads, 1);
}

#[tokio::test(start_paused = true)]
async fn whole_frames_go_out_before_the_error_that_was_behind_them() {
    for tail in [
        vec![],
        vec![Reset],
        vec![Data("event: message_s"), Reset],
        vec![Data("data: {")],
    ] {
        let run = anthropic(&[&[Data(START), Data(DELTA)][..], &tail].concat()).await;
        assert_eq!(run.last(), (format!("{START}{DELTA}"), "upstream_error"));
    }
}

#[tokio::test(start_paused = true)]
async fn half_of_a_last_event_is_not_an_ending() {
    for cut in ["event: message_stop\ndata: {", "event: message_stop"] {
        let run = anthropic(&[Data(DELTA), Data(cut)]).await;
        assert_eq!(run.last(), (DELTA.to_owned(), "upstream_error"), "{cut}");
    }
    let run = openai(&[Data("data: [DO")]).await;
    assert_eq!(run.last(), (String::new(), "upstream_error"));
}

#[tokio::test(start_paused = true)]
async fn a_last_event_without_its_empty_line_is_an_ending() {
    let run = openai(&[Data("data: [DONE]\n")]).await;
    assert_eq!(run.last(), ("data: [DONE]\n".to_owned(), "complete"));
}

#[tokio::test(start_paused = true)]
async fn what_breaks_after_an_ending_is_no_second_one() {
    let pause = || Pause(Duration::from_millis(1));
    for (ending, how) in [(STOP, "complete"), (ERROR, "told")] {
        for tail in [
            vec![],
            vec![Reset],
            vec![pause(), Reset],
            vec![pause(), Silence],
        ] {
            let run = anthropic(&[&[Data(DELTA), Data(ending)][..], &tail].concat()).await;
            assert_eq!(run.everything(), format!("{DELTA}{ending}"));
            assert_eq!(run.last().1, how);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_stream_at_its_deadline_and_every_byte_begins_it_anew() {
    let nearly = Pause(IDLE / 3 * 2);
    let run = anthropic(&[
        Data(DELTA),
        nearly.clone(),
        Data("data:"),
        nearly,
        Data(" x"),
        Silence,
    ])
    .await;
    assert_eq!(run.last(), (String::new(), "upstream_timeout"));
    assert_eq!(run.took, IDLE / 3 * 4 + IDLE);
    assert_eq!(run.client.parts, [DELTA]);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_stays_open_after_its_last_event_is_left() {
    let run = anthropic(&[Data(STOP), Silence]).await;
    assert_eq!((run.last().1, run.took), ("complete", LINGER));
}

#[tokio::test(start_paused = true)]
async fn one_answer_of_several_may_finish_long_before_the_others() {
    let run = openai(&[
        Data(FINISHED),
        Pause(LINGER * 5),
        Data(FINISHED),
        Data(DONE),
    ])
    .await;
    assert_eq!(run.everything(), format!("{FINISHED}{FINISHED}{DONE}"));
    assert_eq!(run.last().1, "complete");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed_in_silence_before_and_after_the_first_event() {
    for begun in [vec![], vec![Data(DELTA)]] {
        let client = Reader {
            leaves_after: Some(Duration::from_secs(3)),
            ..Reader::default()
        };
        let run = pumped(
            Dialect::Anthropic,
            &[&begun[..], &[Silence]].concat(),
            client,
        )
        .await;
        assert_eq!(run.last().1, "left");
        assert!(run.took <= Duration::from_secs(3) + Watch::PATIENCE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_sent_nothing_more_and_is_left_in_the_end() {
    let client = Reader {
        is_stuck: true,
        ..Reader::default()
    };
    let pause = Pause(Duration::from_millis(1));
    let run = pumped(
        Dialect::Anthropic,
        &[Data(DELTA), pause, Data(STOP)],
        client,
    )
    .await;
    assert_eq!(run.client.parts, [DELTA]);
    assert_eq!((run.last().1, run.took), ("left", STALL));
}

#[tokio::test(start_paused = true)]
async fn silence_is_filled_with_signs_of_life_until_its_deadline_once_a_stream_has_begun() {
    for (dialect, ping) in [
        (
            Dialect::Anthropic,
            "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        ),
        (Dialect::OpenAi, ": ping\n\n"),
    ] {
        let voice = Voice::AsIs(dialect);
        let steps = [Data(DELTA), Silence];
        let run = pumped_by(dialect, voice, PING, &steps, Reader::default()).await;
        let pings = usize::try_from(IDLE.as_secs() / PING.as_secs()).unwrap() - 1;
        assert_eq!(run.client.parts[0], DELTA);
        assert_eq!(run.client.parts[1..], vec![ping; pings]);
        assert_eq!((run.last().1, run.took), ("upstream_timeout", IDLE));
    }
    let voice = Voice::AsIs(Dialect::Anthropic);
    let run = pumped_by(
        Dialect::Anthropic,
        voice,
        PING,
        &[Silence],
        Reader::default(),
    )
    .await;
    assert_eq!(run.client.parts.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_translated_stream_can_begin_with_a_sign_of_life() {
    let run = translated(&[Silence]).await;
    let first = &run.client.parts[0];
    assert!(first.starts_with("event: message_start\n"), "{first}");
    assert!(first.ends_with("event: ping\ndata: {\"type\":\"ping\"}\n\n"));
    assert_eq!((run.last().1, run.took), ("upstream_timeout", IDLE));
}

#[tokio::test(start_paused = true)]
async fn a_translated_stream_is_whole_a_moment_after_its_finish_reason() {
    let run = translated(&[Data(FINISHED), Silence]).await;
    assert!(
        run.everything()
            .ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
    );
    assert_eq!((run.last().1, run.took), ("complete", FINISH));
    for tail in [vec![], vec![Reset], vec![Data("data: {\"cho")]] {
        let run = translated(&[&[Data(FINISHED)][..], &tail].concat()).await;
        assert_eq!(run.last().1, "complete");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_translated_stream_is_not_waited_for() {
    let run = translated(&[Data(FINISHED), Data(DONE), Silence]).await;
    assert_eq!((run.last().1, run.took), ("complete", Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_translated_stream_without_a_finish_reason_is_broken() {
    for tail in [
        vec![],
        vec![Reset],
        vec![Data(DONE)],
        vec![Data("data: {\n\n")],
    ] {
        let start = "data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n";
        let run = translated(&[&[Data(start)][..], &tail].concat()).await;
        assert_eq!(run.last().1, "upstream_error");
        assert!(!run.everything().contains("message_stop"));
    }
}
