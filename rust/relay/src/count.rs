//! How many tokens a prompt has, where the upstream does not count them in the client's API.

use std::rc::Rc;

use bytes::Bytes;
use fault::Fault;
use tokens::{Counter, Encoding, Parts};
use wire::translate::{self, Kind, Order, Prompt, Translated};
use wire::{Operation, Produced, Refusal, Usage};

use crate::client::{Client, Head};
use crate::core::{Core, Served};
use crate::exchange::{Asked, Exchange};
use crate::headers;
use crate::plan::Plan;
use crate::record::Outcome;
use crate::tally::Row;
use crate::upstream::Upstream;

/// The path of vLLM's tokenizer, which knows the chat template and the tools too.
const TOKENIZE: &str = "/tokenize";
/// Its answer lists every token.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// What is not kept of an answer is counted by its size: prose and code have about so many bytes a token.
const BYTES_PER_TOKEN: u64 = 4;

/// What a model has written, as far as that is known here.
#[derive(Debug, Default)]
pub(crate) enum Output {
    /// Nothing, or the upstream tells how much.
    #[default]
    Nothing,
    /// Its texts.
    Texts(Produced),
    /// So many bytes of an answer too large to be kept.
    Bytes(u64),
}

/// What a request's tokens are counted by where its upstream does not tell them.
#[derive(Debug)]
pub(crate) struct Measure {
    operation: Operation,
    body: Bytes,
    tokenizer: Option<Counter>,
    most_output: Option<u64>,
}

impl Measure {
    pub(crate) fn new(asked: &Asked, served: &Served) -> Self {
        Self {
            operation: asked.operation,
            body: asked.body.clone(),
            tokenizer: served.tokenizer.clone(),
            most_output: asked.peek.max_tokens,
        }
    }

    /// What the upstream `told`, and what counts in `row` beside it.
    pub(crate) async fn complete(
        self,
        core: &Core,
        row: Row,
        told: Usage,
        output: Output,
    ) -> Usage {
        let (input, output) = (
            row.lacks_input(&told),
            row.lacks_output(&told).then_some(output),
        );
        if !input && output.is_none() {
            return told;
        }
        let body = self.body.clone();
        let counted = core.count(move || {
            let counter = counter(self.tokenizer.as_ref());
            let mut usage = told;
            if input {
                usage.input_tokens = self.input(&counter);
            }
            if let Some(output) = output {
                usage.output_tokens = self.output(&counter, &output);
            }
            usage
        });
        // A count that failed is a defect: what was reserved is the best guess then.
        counted.await.unwrap_or_else(|| Usage {
            input_tokens: if input {
                wire::input_bound_tokens(&body)
            } else {
                told.input_tokens
            },
            ..told
        })
    }

    fn input(&self, counter: &Counter) -> u64 {
        let prompt = translate::prompt_of(self.operation, &self.body);
        prompt.map_or_else(
            || wire::input_bound_tokens(&self.body),
            |prompt| {
                let media = wire::media_bound_tokens(&self.body);
                count_prompt(counter, &prompt).saturating_add(media)
            },
        )
    }

    fn output(&self, counter: &Counter, output: &Output) -> u64 {
        match output {
            Output::Nothing => 0,
            Output::Texts(produced) => {
                counter.count(produced.text()) + produced.surplus_bytes() / BYTES_PER_TOKEN
            }
            Output::Bytes(bytes) => {
                let most = self.most_output.unwrap_or(u64::MAX);
                most.min(bytes / BYTES_PER_TOKEN)
            }
        }
    }
}

impl<C: Client> Exchange<C> {
    /// Answers with the number of tokens in `prompt`: the server's own count where it has a tokenizer, else an estimate that
    /// says so.
    pub(crate) async fn count(
        &mut self,
        prompt: Vec<u8>,
        plan: &Plan,
        upstream: &Upstream,
        served: &Served,
    ) -> Result<(), Fault> {
        let prompt = Bytes::from(prompt);
        let mut exact = None;
        if served.profile.kind == Kind::Vllm {
            exact = self.asked_tokenizer(&prompt, upstream).await?;
        }
        let mut head = Head::new(200);
        let tokens = if let Some(tokens) = exact {
            tokens
        } else {
            head.push("x-gateway-token-count", "estimate");
            let tokenizer = served.tokenizer.clone();
            let core = Rc::clone(&self.core);
            let counting = core.count(move || estimate(tokenizer.as_ref(), &prompt));
            counting.await.flatten().ok_or_else(|| {
                Fault::new(fault::Kind::Internal, "the tokens could not be counted")
            })?
        };
        let body = translate::counted(tokens);
        head.push("content-type", "application/json");
        head.push("content-length", body.len().to_string());
        self.sign(&mut head, plan);
        self.finish(head, vec![body.into()], Outcome::Complete)
            .await;
        Ok(())
    }

    /// Where vLLM refused a prompt as too long, the refusal with the prompt's size: vLLM stops counting at its limit, and
    /// a client that shortens the conversation by the difference would have to try again and again.
    pub(crate) async fn with_size(
        &mut self,
        refusal: Refusal,
        (status, words): (u16, &[u8]),
        asked: &Asked,
        plan: &Plan,
        upstream: &Upstream,
        served: &Served,
    ) -> Refusal {
        let profile = &served.profile;
        let generated = asked.operation == Operation::Messages;
        if !generated || profile.kind != Kind::Vllm || !translate::is_uncounted(status, words) {
            return refusal;
        }
        let order = Order {
            operation: Operation::CountTokens,
            body: &asked.body,
            profile,
            wire_model: &plan.wire_model,
        };
        let Ok(Translated::Count(prompt)) = translate::request(&order) else {
            return refusal;
        };
        match self.asked_tokenizer(&Bytes::from(prompt), upstream).await {
            Ok(Some(tokens)) => translate::counted_refusal(status, words, tokens),
            _ => refusal,
        }
    }

    /// The count of the server's tokenizer; `None` if it has none.
    async fn asked_tokenizer(
        &mut self,
        prompt: &Bytes,
        upstream: &Upstream,
    ) -> Result<Option<u64>, Fault> {
        let headers = headers::for_translated(&[], wire::Dialect::OpenAi);
        self.calling();
        let response = upstream
            .post(TOKENIZE, headers, std::slice::from_ref(prompt))
            .await
            .map_err(|failure| self.noted(failure))?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let Some(answer) = self.read_whole(&mut body, upstream, ANSWER_BYTES).await? else {
            return Err(Fault::new(fault::Kind::Canceled, "the client left"));
        };
        match status {
            200 => Ok(translate::token_count(&answer)),
            400 | 422 => {
                // The prompt itself is refused, as it would be by the endpoint that answers it.
                let refusal = translate::refusal(self.dialect, status, &answer);
                Err(Fault::new(fault::Kind::InvalidRequest, refusal.message))
            }
            _ => Ok(None),
        }
    }
}

/// The tokens of a translated `prompt`, which may take long to count; `None` for what is none.
fn estimate(tokenizer: Option<&Counter>, prompt: &[u8]) -> Option<u64> {
    let prompt = translate::prompt_texts(prompt)?;
    Some(count_prompt(&counter(tokenizer), &prompt))
}

/// The model's own counter, or one that is near enough.
fn counter(tokenizer: Option<&Counter>) -> Counter {
    tokenizer
        .cloned()
        .unwrap_or_else(|| Counter::built_in(Encoding::O200k))
}

fn count_prompt(counter: &Counter, prompt: &Prompt<'_>) -> u64 {
    let parts = Parts {
        messages: prompt.messages,
        tools: prompt.tools,
        tool_calls: prompt.tool_calls,
    };
    counter.count_request(prompt.texts.iter().map(AsRef::as_ref), parts)
}
