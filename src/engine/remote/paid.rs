//! Pictures that are paid for, of jobs that are not finished. No provider knows an idempotency key, so what an attempt got
//! before a later call was refused would otherwise be drawn, and charged, again. Best effort: another process knows nothing
//! of it, and the oldest go when there are too many.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::drawing::{Batch, Share};
use crate::{
    domain::ids::JobId,
    engine::{AttemptContext, ImageSpec},
};

/// Bytes of pictures kept, at most.
const MOST_BYTES: usize = 64 << 20;

/// What was asked for: the same question has the same answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    job: JobId,
    model: String,
    prompt: String,
    size: (u32, u32),
    share: Share,
}

impl Question {
    pub(super) fn new(spec: &ImageSpec, model: &str, cx: &AttemptContext, share: Share) -> Self {
        let illustration = &spec.illustration;
        Self {
            job: cx.job_id.clone(),
            model: model.to_owned(),
            prompt: illustration.final_prompt(),
            size: (illustration.width, illustration.height),
            share,
        }
    }
}

#[derive(Default)]
pub(super) struct Paid(Mutex<VecDeque<(Question, Batch)>>);

impl Paid {
    /// Keeps an answer until it is [forgotten](Self::forget).
    pub(super) fn keep(&self, question: Question, batch: Batch) {
        self.forget(&question);
        let mut kept = self.kept();
        kept.push_back((question, batch));
        let mut bytes: usize = kept.iter().map(|(_, batch)| batch.bytes()).sum();
        while bytes > MOST_BYTES
            && let Some((_, dropped)) = kept.pop_front()
        {
            bytes -= dropped.bytes();
        }
    }

    /// The answer that an earlier attempt got.
    pub(super) fn get(&self, question: &Question) -> Option<Batch> {
        self.kept().iter().find(|(asked, _)| asked == question).map(|(_, batch)| batch.clone())
    }

    /// The answer was delivered: to ask again is to want another one.
    pub(super) fn forget(&self, question: &Question) {
        self.kept().retain(|(asked, _)| asked != question);
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(Question, Batch)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::engine::Generated;

    fn question(seed: u32) -> Question {
        let share = Share { first: 0, count: 1, seed };
        let job = "ill_00000000000000000000".parse().unwrap();
        Question { job, model: "m".to_owned(), prompt: "p".to_owned(), size: (1, 1), share }
    }

    fn batch(bytes: usize) -> Batch {
        Batch { images: vec![Generated { bytes: Bytes::from(vec![0; bytes]) }], filtered: 0 }
    }

    #[test]
    fn an_answer_is_given_to_its_question_until_it_is_forgotten() {
        let paid = Paid::default();
        paid.keep(question(1), batch(10));
        assert_eq!(paid.get(&question(2)), None);
        assert_eq!(paid.get(&question(1)), Some(batch(10)));
        assert_eq!(paid.get(&question(1)), Some(batch(10)));
        paid.forget(&question(1));
        assert_eq!(paid.get(&question(1)), None);
    }

    #[test]
    fn the_oldest_go_when_there_is_too_much() {
        let paid = Paid::default();
        for seed in 0..5 {
            paid.keep(question(seed), batch(MOST_BYTES / 4));
        }
        assert_eq!(paid.get(&question(0)), None);
        assert!((1..5).all(|seed| paid.get(&question(seed)).is_some()));
        paid.keep(question(9), batch(MOST_BYTES + 1));
        assert_eq!(paid.get(&question(9)), None, "more than everything is not kept");
    }
}
