//! Clients: they submit, retry under the same key, hang up, cancel, delete, list, read and watch.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use mediaforge::{
    domain::{
        brand::TrainRequest,
        ids::{JobId, UserId},
        kind::JobKind,
        request::GenerateRequest,
        upload::UploadId,
    },
    jobs::{DeleteResult, SubmitError, Submitted, Submitter},
    store::{JobFilter, Owner, PageRequest},
};
use tokio::time::{sleep, timeout};

use crate::{engine, plan::Fault, serving::Serving, watcher, world::World};

/// What the clients know of their jobs.
#[derive(Default)]
pub struct Clients {
    pub accepted: BTreeMap<JobId, Accepted>,
    pub watches: Vec<watcher::Watched>,
}

pub struct Accepted {
    pub user: UserId,
    /// Whether its owner has asked to delete it.
    pub may_be_gone: bool,
}

pub struct Client {
    pub world: Arc<World>,
    pub user: UserId,
    pub others: Vec<UserId>,
}

/// How long a client waits for a response.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How often a client tries.
const TRIES: u32 = 6;

impl Client {
    /// Runs all steps of the client.
    pub async fn act(self) {
        if self.world.dice.chance(500) {
            self.watch_all();
        }
        for step in 0..self.world.plan.steps {
            sleep(self.world.dice.millis(50, 9_000)).await;
            match self.world.dice.below(100) {
                0..60 => self.submit(step).await,
                60..74 => self.cancel().await,
                74..82 => self.delete().await,
                82..91 => self.list().await,
                _ => self.pry().await,
            }
        }
    }

    /// Calls a random gateway; `None` without a response, or when the client hangs up.
    async fn ask<T, F: Future<Output = T>>(
        &self,
        what: &'static str,
        call: impl FnOnce(Arc<Serving>) -> F,
    ) -> Option<T> {
        let world = &self.world;
        let Some(gateway) = world.some_gateway() else {
            sleep(world.dice.millis(200, 2_000)).await;
            return None;
        };
        let time_limit = if world.strikes(Fault::ClientHangsUp) { world.dice.millis(1, 150) } else { TIMEOUT };
        let process = Arc::clone(&gateway.process);
        world.event(self.user.as_str(), what, &process.name, String::new);
        let call = async {
            process.runs().await;
            process.alone().await;
            call(gateway).await
        };
        let answer = tokio::select! {
            biased;
            () = process.died.cancelled() => None,
            answer = timeout(time_limit, call) => answer.ok(),
        };
        world.event(
            self.user.as_str(),
            if answer.is_some() { "hears of" } else { "hears nothing of" },
            what,
            String::new,
        );
        answer
    }

    async fn submit(&self, step: u64) {
        let dice = &self.world.dice;
        let key = dice.chance(700).then(|| format!("key-{step}"));
        if dice.chance(self.world.plan.trainings_per_mille) {
            return self.train(key).await;
        }
        let side = |large: bool| Some(if large { 16 } else { 8 });
        let large = dice.chance(200);
        let request = GenerateRequest {
            prompt: Some(format!("picture {step}")),
            style_id: self.brand(),
            width: side(large),
            height: side(large),
            count: Some(i128::from(dice.between(1, 3))),
            ..GenerateRequest::default()
        };
        let submitter = self.submitter(key.clone());
        for _ in 0..TRIES {
            let (request, submitter) = (request.clone(), submitter.clone());
            let submit = |gateway: Arc<Serving>| async move {
                gateway.jobs.submission.submit_illustration(&request, submitter).await
            };
            let answer = self.ask("submits", submit).await;
            if !self.is_open(answer, key.as_deref(), JobKind::Illustration) {
                break;
            }
            sleep(self.world.dice.millis(10, 4_000)).await;
        }
        if let Some(key) = key.filter(|_| self.world.dice.chance(100)) {
            self.reuse(request, submitter, &key).await;
        }
    }

    fn submitter(&self, idempotency_key: Option<String>) -> Submitter {
        Submitter { user: self.user.clone(), idempotency_key, trace: None }
    }

    /// Sometimes a brand to draw in.
    fn brand(&self) -> Option<String> {
        if !self.world.dice.chance(150) {
            return None;
        }
        let brands = self.world.records.lock().expect("a lock").of_user(&self.user, Some(JobKind::Brand));
        brands.first().map(ToString::to_string)
    }

    /// Records the response and returns whether to try again.
    fn is_open(&self, answer: Option<Result<Submitted, SubmitError>>, key: Option<&str>, kind: JobKind) -> bool {
        match answer {
            Some(Ok(submitted)) => {
                let id = submitted.job.value.id.clone();
                if submitted.replayed {
                    self.world.count("submit replayed");
                }
                if key.is_some_and(|key| id != JobId::derived(kind, &self.user, key)) {
                    self.world.violation("one key is one job", format!("{id} for {key:?}"));
                }
                self.accept(id);
                false
            }
            Some(Err(SubmitError::Backend(error))) => key.is_some() && error.is_transient(),
            Some(Err(_)) => false,
            // Without a key, a repeat could make a second job.
            None => key.is_some(),
        }
    }

    fn accept(&self, id: JobId) {
        let watch = self.world.dice.chance(600);
        let accepted = Accepted { user: self.user.clone(), may_be_gone: false };
        self.world.clients.lock().expect("a lock").accepted.entry(id.clone()).or_insert(accepted);
        if let Some(gateway) = self.world.some_gateway().filter(|_| watch) {
            tokio::spawn(watcher::follow(gateway, self.user.clone(), id));
        }
    }

    /// Sends another request under a used key.
    async fn reuse(&self, mut request: GenerateRequest, submitter: Submitter, key: &str) {
        let id = JobId::derived(JobKind::Illustration, &self.user, key);
        let is_known = self.world.clients.lock().expect("a lock").accepted.contains_key(&id);
        request.prompt = Some("something else".to_owned());
        let submit = |gateway: Arc<Serving>| async move {
            gateway.jobs.submission.submit_illustration(&request, submitter).await
        };
        let answer = self.ask("reuses a key", submit).await;
        match answer {
            Some(Ok(_)) if is_known => self.world.violation("one key is one request", id.to_string()),
            Some(Ok(accepted)) => self.accept(accepted.job.value.id.clone()),
            Some(Err(SubmitError::KeyReused)) => self.world.count("key reuse refused"),
            _ => {}
        }
    }

    async fn train(&self, key: Option<String>) {
        let upload = UploadId::random(&self.world.dice);
        let bytes = engine::picture(16, 0);
        for _ in 0..TRIES {
            let (user, id, bytes) = (self.user.clone(), upload.clone(), bytes.clone());
            let taken = self
                .ask("uploads", |gateway| async move {
                    gateway.jobs.submission.uploads().receive_picture(&user, &id, bytes).await
                })
                .await;
            if matches!(taken, Some(Ok(_))) {
                break;
            }
            sleep(self.world.dice.millis(10, 2_000)).await;
        }
        let request = TrainRequest {
            brand_name: Some("brand".to_owned()),
            brand_colors: None,
            training_images: Some(vec![upload.to_string()]),
        };
        let submitter = self.submitter(key.clone());
        for _ in 0..TRIES {
            let (request, submitter) = (request.clone(), submitter.clone());
            let submit =
                |gateway: Arc<Serving>| async move { gateway.jobs.submission.submit_brand(&request, submitter).await };
            let answer = self.ask("trains", submit).await;
            if !self.is_open(answer, key.as_deref(), JobKind::Brand) {
                break;
            }
            sleep(self.world.dice.millis(10, 4_000)).await;
        }
    }

    /// One of the client's accepted jobs.
    fn own(&self) -> Option<JobId> {
        let clients = self.world.clients.lock().expect("a lock");
        let own: Vec<_> = clients.accepted.iter().filter(|(_, job)| job.user == self.user).map(|(id, _)| id).collect();
        (!own.is_empty()).then(|| (*self.world.dice.pick(&own)).clone())
    }

    async fn cancel(&self) {
        let Some(id) = self.own() else { return };
        let user = self.user.clone();
        let wanted = id.clone();
        let answer =
            self.ask("cancels", |gateway| async move { gateway.jobs.control.cancel(&user, &wanted).await }).await;
        if let Some(Ok(None)) = answer
            && !self.world.clients.lock().expect("a lock").accepted[&id].may_be_gone
        {
            self.world.violation("I1 an accepted job is there", format!("{id} when it was to be cancelled"));
        }
    }

    async fn delete(&self) {
        let Some(id) = self.own() else { return };
        let is_final = |world: &World| {
            let records = world.records.lock().expect("a lock");
            records.rows.get(&id).is_none_or(|row| row.job.value.status().is_final())
        };
        let was_final = is_final(&self.world);
        self.world.clients.lock().expect("a lock").accepted.get_mut(&id).expect("it was accepted").may_be_gone = true;
        let (user, wanted) = (self.user.clone(), id.clone());
        let answer =
            self.ask("deletes", |gateway| async move { gateway.jobs.control.delete(&user, &wanted).await }).await;
        if matches!(answer, Some(Ok(DeleteResult::NotFinished))) && was_final && self.world.counted("job redriven") == 0
        {
            self.world.violation("I6 a final state is final", format!("{id} is not finished any more"));
        }
    }

    async fn list(&self) {
        let filter = JobFilter {
            owner: Owner::User(self.user.clone()),
            kind: JobKind::Illustration,
            statuses: std::collections::BTreeSet::new(),
        };
        let page = PageRequest { limit: 5, after: None };
        let answer = self.ask("lists", |gateway| async move { gateway.jobs.queries.list(&filter, &page).await }).await;
        if let Some(Ok(page)) = answer
            && page.items.iter().any(|job| job.value.user != self.user)
        {
            self.world.violation("I5 nobody sees another's jobs", format!("in a list of {}", self.user));
        }
    }

    /// Tries to read another user's job.
    async fn pry(&self) {
        let other = self.world.dice.pick(&self.others).clone();
        let id = {
            let records = self.world.records.lock().expect("a lock");
            records.of_user(&other, Some(JobKind::Illustration)).first().cloned()
        };
        let Some(id) = id else { return };
        let (user, wanted) = (self.user.clone(), id.clone());
        let answer = self.ask("pries", |gateway| async move { gateway.jobs.queries.get(&user, &wanted).await }).await;
        match answer {
            Some(Ok(Some(_))) => {
                self.world.violation("I5 nobody sees another's jobs", format!("{id} was shown to {}", self.user));
            }
            Some(Ok(None)) => self.world.count("stranger sent away"),
            _ => {}
        }
    }

    fn watch_all(&self) {
        if let Some(gateway) = self.world.some_gateway() {
            tokio::spawn(watcher::follow_all(gateway, self.user.clone()));
        }
    }
}
