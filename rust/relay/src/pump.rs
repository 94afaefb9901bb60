//! An upstream's stream on its way to the client: whole frames, as soon as they are there.
//!
//! Everything that one read made ready goes out in one part; nothing is held back to wait for more. Only a frame
//! that is not complete yet waits, so that an error event never lands in the middle of another.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use fault::{Fault, Kind};
use futures_util::future::poll_immediate;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::Instant;
use wire::{Dialect, Frames, Observer, Usage};

use crate::client::{Client, Head, Sent};
use crate::metrics::Metrics;
use crate::record::Record;
use crate::watch::Watch;

/// One part is at most about this large: larger ones only make the client wait for its first byte.
const PART_BYTES: usize = 64 * 1024;
/// A client that takes nothing for this long has left.
pub(crate) const STALL: Duration = Duration::from_secs(60);
/// After its last event an upstream should close; it is not waited for longer than this.
const LINGER: Duration = Duration::from_secs(2);

/// How a stream ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Whole; `last` is still to be sent.
    Complete { last: Vec<Bytes> },
    /// The upstream told an error inside the stream, which has been, or is in, `last`.
    Told { last: Vec<Bytes> },
    /// The upstream broke off; `last` are whole frames that came before, and are still to be sent.
    Broken { last: Vec<Bytes>, fault: Fault },
    /// The client left, or stopped reading.
    ClientLeft,
}

/// A stream between its first and its last frame.
#[derive(Debug)]
pub(crate) struct Pump<'a, B> {
    head: Option<Head>,
    body: B,
    idle: Duration,
    frames: Frames,
    observer: Observer,
    metrics: &'a Metrics,
    last_content: Option<Instant>,
    delivered: bool,
}

enum Read {
    Part(Vec<Bytes>),
    Over(Over),
    ClientLeft,
}

/// The last that came from an upstream.
struct Over {
    last: Vec<Bytes>,
    /// Whole lines behind the last frame: some servers leave out the empty line there.
    tail: Option<Bytes>,
    /// What went wrong, unless the stream had said that it was at its end.
    fault: Fault,
}

impl<'a, B> Pump<'a, B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// A pump for `body`; `head` goes out with the first frames.
    pub(crate) fn new(
        head: Head,
        body: B,
        dialect: Dialect,
        idle: Duration,
        metrics: &'a Metrics,
    ) -> Self {
        Self {
            head: Some(head),
            body,
            idle,
            frames: Frames::new(),
            observer: Observer::new(dialect),
            metrics,
            last_content: None,
            delivered: false,
        }
    }

    /// The head, if nothing has been sent yet.
    pub(crate) fn take_head(&mut self) -> Option<Head> {
        self.head.take()
    }

    /// Whether anything has gone to the client.
    pub(crate) fn delivered(&self) -> bool {
        self.delivered
    }

    /// Usage seen so far.
    pub(crate) fn usage(&self) -> Usage {
        self.observer.usage()
    }

    /// Relays until the end, whatever that is; what [`End`] still carries is for the caller to send.
    ///
    /// # Cancel safety
    /// Dropping it closes the upstream's connection.
    pub(crate) async fn run(
        &mut self,
        client: &mut impl Client,
        watch: &mut Watch,
        record: &mut Record,
    ) -> End {
        loop {
            let part = match self.read(client, watch).await {
                Read::Part(part) => part,
                Read::Over(over) => return self.end(over, record),
                Read::ClientLeft => return End::ClientLeft,
            };
            self.look(&part, record);
            let sent = client.send(self.head.take().as_ref(), &part, true);
            self.delivered = true;
            watch.arm(client);
            match sent {
                Sent::Ready => {}
                Sent::Gone => return End::ClientLeft,
                Sent::Full(drained) => tokio::select! {
                    biased;
                    () = watch.left() => return End::ClientLeft,
                    _ = drained => {}
                    () = tokio::time::sleep(STALL) => return End::ClientLeft,
                },
            }
        }
    }

    fn end(&mut self, over: Over, record: &mut Record) -> End {
        let Over {
            mut last,
            tail,
            fault,
        } = over;
        self.look(&last, record);
        if let Some(tail) = tail {
            self.look(std::slice::from_ref(&tail), record);
            if self.observer.finished() || self.observer.error().is_some() {
                last.push(tail);
            }
        }
        if self.observer.error().is_some() {
            End::Told { last }
        } else if self.observer.finished() {
            End::Complete { last }
        } else {
            End::Broken { last, fault }
        }
    }

    fn look(&mut self, part: &[Bytes], record: &mut Record) {
        for piece in part {
            let seen = self.observer.observe(piece);
            if seen.content {
                let now = Instant::now();
                if let Some(before) = self.last_content.replace(now) {
                    self.metrics.between_tokens((now - before).as_secs_f64());
                }
                record.content_delivered();
            }
        }
    }

    /// The next part: waits for the first bytes, then takes what else is there already.
    async fn read(&mut self, client: &mut impl Client, watch: &mut Watch) -> Read {
        let mut part = Vec::new();
        let mut bytes = 0;
        let silence = self.patience();
        let mut quiet = pin!(tokio::time::sleep(silence));
        let mut unwatched = pin!(tokio::time::sleep(Watch::PATIENCE));
        loop {
            let frame = if part.is_empty() {
                tokio::select! {
                    biased;
                    () = watch.left() => return Read::ClientLeft,
                    frame = self.body.frame() => Some(frame),
                    () = unwatched.as_mut(), if !watch.armed() => {
                        watch.arm(client);
                        continue;
                    }
                    () = quiet.as_mut() => return Read::over(part, None, silent(silence)),
                }
            } else if bytes < PART_BYTES {
                // The connection's task hands over one frame at a time, and only when it is let run.
                give_way().await;
                poll_immediate(self.body.frame()).await
            } else {
                None
            };
            match frame {
                None => return Read::Part(part),
                Some(None) => {
                    let tail = self.frames.finish().filter(|tail| is_whole_lines(tail));
                    return Read::over(part, tail, broken("the upstream's answer ended too early"));
                }
                Some(Some(Err(_))) => {
                    let fault = broken("the connection to the upstream broke mid-stream");
                    return Read::over(part, None, fault);
                }
                Some(Some(Ok(frame))) => {
                    quiet.as_mut().reset(Instant::now() + silence);
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    match self.frames.push_ready(data) {
                        Ok(Some(ready)) => {
                            bytes += ready.len();
                            part.push(ready);
                        }
                        Ok(None) => {}
                        Err(_) => {
                            let fault = broken("the upstream sent an event that is too large");
                            return Read::over(part, None, fault);
                        }
                    }
                }
            }
        }
    }

    /// How long the upstream may be silent now.
    fn patience(&self) -> Duration {
        let over = self.observer.closed() || self.observer.error().is_some();
        if over { LINGER } else { self.idle }
    }
}

impl Read {
    fn over(last: Vec<Bytes>, tail: Option<Bytes>, fault: Fault) -> Self {
        Self::Over(Over { last, tail, fault })
    }
}

/// Half a line is where something was cut; it must not reach a client.
fn is_whole_lines(tail: &[u8]) -> bool {
    tail.ends_with(b"\n") || tail.ends_with(b"\r")
}

fn silent(silence: Duration) -> Fault {
    let message = format!("the upstream was silent for {} s", silence.as_secs_f64());
    Fault::new(Kind::UpstreamTimeout, message)
}

/// Lets the tasks that are ready run once.
///
/// Tokio's own `yield_now` also asks the kernel for news, which would cost every event a system call.
async fn give_way() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn broken(message: &str) -> Fault {
    Fault::new(Kind::UpstreamError, message)
}

#[cfg(test)]
mod tests {
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
    use wire::{Dialect, Operation};

    use super::{End, LINGER, Pump, STALL};
    use crate::client::{Client, Head, Sent};
    use crate::log::Log;
    use crate::metrics::Metrics;
    use crate::record::Record;
    use crate::settings::{self, UserLabel};
    use crate::watch::Watch;

    const IDLE: Duration = Duration::from_secs(300);
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
        fn send(&mut self, head: Option<&Head>, body: &[Bytes], _more: bool) -> Sent {
            self.heads += usize::from(head.is_some());
            self.parts.push(text(body));
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
                End::Broken { last, fault } => (text(last), fault.kind.as_str()),
                End::ClientLeft => (String::new(), "left"),
            }
        }

        fn everything(&self) -> String {
            self.client.parts.concat() + &self.last().0
        }
    }

    async fn pumped(dialect: Dialect, steps: &[Step], mut client: Reader) -> Run {
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
        let mut pump = Pump::new(Head::new(200), body, dialect, IDLE, &metrics);
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
}
