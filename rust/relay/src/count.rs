//! How many tokens a prompt has, where the upstream does not count them in the client's API.

use bytes::Bytes;
use fault::Fault;
use tokens::{Counter, Encoding, Parts};
use wire::translate::{self, Kind, Order, Translated};
use wire::{Operation, Refusal};

use crate::client::{Client, Head};
use crate::core::Served;
use crate::exchange::{Asked, Exchange, Plan};
use crate::headers;
use crate::record::Outcome;
use crate::upstream::Upstream;

/// The path of vLLM's tokenizer, which knows the chat template and the tools too.
const TOKENIZE: &str = "/tokenize";
/// Its answer lists every token.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

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
            let counting = tokio::task::spawn_blocking(move || estimate(tokenizer, &prompt));
            counting.await.ok().flatten().ok_or_else(|| {
                Fault::new(fault::Kind::Internal, "the tokens could not be counted")
            })?
        };
        let body = translate::counted(tokens);
        head.push("content-type", "application/json");
        head.push("content-length", body.len().to_string());
        self.sign(&mut head, plan);
        self.finish(&head, &[Bytes::from(body)], Outcome::Complete)
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

/// Counts on a thread where it may take long; `None` for what is no prompt.
fn estimate(tokenizer: Option<Counter>, prompt: &[u8]) -> Option<u64> {
    let counter = tokenizer.unwrap_or_else(|| Counter::built_in(Encoding::O200k));
    let prompt = translate::prompt_texts(prompt)?;
    let parts = Parts {
        messages: prompt.messages,
        tools: prompt.tools,
        tool_calls: prompt.tool_calls,
    };
    Some(counter.count_request(prompt.texts.iter().map(AsRef::as_ref), parts))
}
