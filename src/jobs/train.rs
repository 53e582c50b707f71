//! Train: look at the pictures, then submit like everything else. Nothing is held before every picture is fit.

use super::{
    Jobs,
    submit::{SubmitError, Submitted},
    uploads::{Facts, Uploaded},
};
use crate::{
    domain::{
        brand::{BrandSpec, TrainOrder, TrainRequest, TrainingImage, Upload, UploadId, Verdict, judge},
        credits::Credits,
        ids::{JobId, UserId},
        job::{JobKind, Submission, Work},
        request::FieldError,
        trace::TraceContext,
    },
    error::{BackendError, ErrorKind},
    media::{MediaFormat, MediaKey},
};

/// A request for a training.
#[derive(Debug, Clone)]
pub struct SubmitBrand {
    /// Who asks; already identified.
    pub user: UserId,
    /// What they ask for.
    pub request: TrainRequest,
    /// The caller's `Idempotency-Key`, without quotes.
    pub idempotency_key: Option<String>,
    /// The trace of the request.
    pub trace: Option<TraceContext>,
}

/// A verdict on each upload, in the order of the request.
pub type Verdicts = Vec<(UploadId, Verdict)>;

/// What a training would come to.
#[derive(Debug, Clone)]
pub struct Examined {
    /// On each picture.
    pub verdicts: Verdicts,
    /// What it would cost.
    pub price: Credits,
    order: TrainOrder,
    uploads: Vec<Option<Uploaded>>,
}

impl Examined {
    /// Whether every picture is fit.
    pub fn is_fit(&self) -> bool {
        self.verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Ok)
    }
}

impl Jobs {
    /// Looks at what a training would be made of. Holds nothing and submits nothing.
    pub async fn examine(&self, user: &UserId, request: &TrainRequest) -> Result<Examined, SubmitError> {
        let order = request.validate(&self.rules.brand_limits).map_err(SubmitError::Invalid)?;
        self.examine_order(user, order).await
    }

    /// Accepts a training: when this returns `Ok`, the job, its hold and its copies of the pictures are durable.
    pub async fn submit_brand(&self, submit: SubmitBrand) -> Result<Submitted, SubmitError> {
        let SubmitBrand { user, request, idempotency_key, trace } = submit;
        let order = request.validate(&self.rules.brand_limits).map_err(SubmitError::Invalid)?;
        let request_hash = order.hash(&user);
        if let Some(key) = &idempotency_key {
            // A repeat finds its job also when the uploads are gone by now.
            let id = JobId::derived(JobKind::Brand, &user, key);
            if let Some(job) = self.ports.store.get(&id).await? {
                return Submitted::again(job, &request_hash);
            }
        }
        let examined = self.examine_order(&user, order).await?;
        if !examined.is_fit() {
            return Err(unfit(examined.verdicts));
        }
        let id = self.job_id(JobKind::Brand, &user, idempotency_key.as_deref());
        let team = self.ports.store.team_of(&user).await?;
        let Examined { order: TrainOrder { name, colors, uploads: ids }, uploads, .. } = examined;
        let images = self.copy_uploads(&user, &id, &ids, uploads.into_iter().flatten()).await?;
        let submission = Submission {
            id,
            user,
            team,
            work: Work::Brand(BrandSpec { name, colors, images: images.clone() }),
            request_hash,
            trace,
            time_limit: self.rules.training_deadline,
            starting_grant: self.rules.starting_grant,
        };
        let accepted = self.accept(submission).await;
        let is_ours = match &accepted {
            Ok(submitted) => !submitted.replayed,
            // It may have happened: pictures nobody needs are better than a job without.
            Err(SubmitError::Backend(error)) => error.kind == ErrorKind::Timeout,
            Err(_) => false,
        };
        if !is_ours {
            self.remove_copies(&images).await;
        }
        accepted
    }

    async fn examine_order(&self, user: &UserId, order: TrainOrder) -> Result<Examined, SubmitError> {
        let facts = self.all_looked_at(user, &order.uploads).await?;
        let mut seen = Vec::with_capacity(facts.len());
        let mut uploads = Vec::with_capacity(facts.len());
        for facts in facts {
            let (upload, uploaded) = match facts {
                Some(Facts::Taken(uploaded)) => (Upload::Picture(uploaded.facts), Some(uploaded)),
                Some(Facts::Refused { refused }) => (Upload::NotAnImage(refused), None),
                None => (Upload::Missing, None),
            };
            seen.push(upload);
            uploads.push(uploaded);
        }
        let verdicts = judge(&seen, &self.rules.brand_limits);
        let verdicts = order.uploads.iter().cloned().zip(verdicts).collect();
        Ok(Examined { verdicts, price: self.rules.prices.training, order, uploads })
    }

    /// The brand's own copies. When one of the uploads has just expired, none is left behind.
    async fn copy_uploads(
        &self,
        user: &UserId,
        id: &JobId,
        ids: &[UploadId],
        uploads: impl Iterator<Item = Uploaded>,
    ) -> Result<Vec<TrainingImage>, SubmitError> {
        let fence = self.ports.random.next_u64();
        let mut images = Vec::with_capacity(ids.len());
        for (n, upload) in uploads.enumerate() {
            let Uploaded { facts, key, .. } = upload;
            let copied = match target(user, id, fence, n, &key) {
                Ok((from, to)) => match self.ports.media.copy(&from, &to).await {
                    // The fence is drawn for this submission alone: it is our own copy, whose answer was lost.
                    Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(Some(to)),
                    copied => copied.map(|found| found.then_some(to)),
                },
                Err(error) => Err(error),
            };
            match copied {
                Ok(Some(to)) => {
                    images.push(TrainingImage { key: to.to_string(), width: facts.width, height: facts.height });
                }
                Ok(None) => {
                    self.remove_copies(&images).await;
                    let verdict = |at: usize| if at == n { Verdict::Missing } else { Verdict::Ok };
                    return Err(unfit(ids.iter().cloned().enumerate().map(|(at, id)| (id, verdict(at))).collect()));
                }
                Err(error) => {
                    self.remove_copies(&images).await;
                    return Err(error.into());
                }
            }
        }
        Ok(images)
    }

    /// Removes what a refused submission has copied. What stays after a failure is no danger, only waste.
    async fn remove_copies(&self, images: &[TrainingImage]) {
        for image in images {
            let Ok(key) = image.key.parse::<MediaKey>() else { continue };
            if let Err(error) = self.ports.media.delete(&key).await {
                tracing::warn!(%key, %error, "the copy of a training image stays behind");
            }
        }
    }
}

fn target(user: &UserId, id: &JobId, fence: u64, n: usize, upload: &str) -> Result<(MediaKey, MediaKey), BackendError> {
    let broken = || BackendError::new(ErrorKind::Broken, "uploads.copy").because(format!("{upload:?} is no picture's"));
    let from: MediaKey = upload.parse().map_err(|_| broken())?;
    let format = MediaFormat::of_key(&from).ok_or_else(broken)?;
    Ok((from, MediaKey::training(user, id, fence, n, format)))
}

fn unfit(verdicts: Verdicts) -> SubmitError {
    let wrong = |(n, (_, verdict)): (usize, &(UploadId, Verdict))| {
        (*verdict != Verdict::Ok).then(|| FieldError::new(&format!("trainingImages/{n}"), verdict.detail()))
    };
    SubmitError::Unfit { errors: verdicts.iter().enumerate().filter_map(wrong).collect(), verdicts }
}
