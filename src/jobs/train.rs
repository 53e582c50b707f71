//! Train: look at the pictures, then submit like everything else. Nothing is held before every picture is fit.

use super::{
    Jobs,
    submit::{SubmitError, Submitted},
    uploads::{Facts, Uploaded},
};
use crate::{
    domain::{
        brand::{BrandSpec, ImageCheck, Judged, TrainOrder, TrainRequest, TrainingImage, Upload, judge},
        credits::Credits,
        field_error::FieldError,
        ids::{JobId, UserId},
        job::{Submission, Work},
        kind::JobKind,
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

/// A verdict on each picture, in the order of the request, and of their names within an archive.
pub type ImageChecks = Vec<Judged>;

/// What a training would come to.
#[derive(Debug, Clone)]
pub struct Examined {
    /// On each picture.
    pub verdicts: ImageChecks,
    /// What it would cost.
    pub price: Credits,
    order: TrainOrder,
    uploads: Vec<Option<Uploaded>>,
}

impl Examined {
    /// Whether every picture is fit.
    pub fn is_fit(&self) -> bool {
        self.verdicts.iter().all(|judged| judged.verdict == ImageCheck::Ok)
    }
}

impl Jobs {
    /// Looks at what a training would be made of. Holds nothing and submits nothing.
    pub async fn examine(&self, user: &UserId, request: &TrainRequest) -> Result<Examined, SubmitError> {
        let order = request.validate(&self.config.brand_limits).map_err(SubmitError::Invalid)?;
        self.examine_order(user, order).await
    }

    /// Accepts a training: when this returns `Ok`, the job, its hold and its copies of the pictures are durable.
    pub async fn submit_brand(&self, submit: SubmitBrand) -> Result<Submitted, SubmitError> {
        let SubmitBrand { user, request, idempotency_key, trace } = submit;
        let order = request.validate(&self.config.brand_limits).map_err(SubmitError::Invalid)?;
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
        let team = self.ports.accounts.team_of(&user).await?;
        let Examined { order: TrainOrder { name, colors, .. }, uploads, verdicts, .. } = examined;
        let images = self.copy_uploads(&user, &id, verdicts, uploads.into_iter().flatten()).await?;
        let submission = Submission {
            id,
            user,
            team,
            work: Work::Brand(BrandSpec { name, colors, images: images.clone() }),
            request_hash,
            trace,
            time_limit: self.config.training_deadline,
            starting_grant: self.config.starting_grant,
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
        let (mut seen, mut uploads, mut named, mut wrong) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut found = |position: usize, entry: Option<String>, (upload, uploaded): (Upload, Option<Uploaded>)| {
            named.push((position, entry));
            seen.push(upload);
            uploads.push(uploaded);
        };
        for (n, facts) in facts.into_iter().enumerate() {
            match facts {
                Some(Facts::Taken(uploaded)) => found(n, None, (Upload::Picture(uploaded.facts), Some(uploaded))),
                Some(Facts::Refused { refused }) => found(n, None, (Upload::NotAnImage(refused), None)),
                Some(Facts::Unpacked(unpacked)) => {
                    for entry in unpacked.pictures {
                        let judged = entry.judged();
                        found(n, Some(entry.name), judged);
                    }
                }
                Some(Facts::RefusedArchive { refused_archive }) => {
                    wrong.push(FieldError::new(&format!("trainingImages/{n}"), refused_archive));
                }
                None => found(n, None, (Upload::Missing, None)),
            }
        }
        // Of what is missing nobody knows how many pictures it was to be.
        let is_all_there = wrong.is_empty() && !seen.contains(&Upload::Missing);
        let limits = &self.config.brand_limits;
        if is_all_there || seen.len() > limits.max_images {
            wrong.extend(limits.check_count(seen.len()));
        }
        if !wrong.is_empty() {
            return Err(SubmitError::Invalid(wrong));
        }
        let verdicts = judge(&seen, limits).into_iter().zip(named).map(|(verdict, (position, entry))| Judged {
            upload: order.uploads[position].clone(),
            position,
            entry,
            verdict,
        });
        let verdicts = verdicts.collect();
        Ok(Examined { verdicts, price: self.config.prices.training, order, uploads })
    }

    /// The brand's own copies. When one of the uploads has just expired, none is left behind.
    async fn copy_uploads(
        &self,
        user: &UserId,
        id: &JobId,
        mut verdicts: ImageChecks,
        uploads: impl Iterator<Item = Uploaded>,
    ) -> Result<Vec<TrainingImage>, SubmitError> {
        let fence = self.ports.random.next_u64();
        let mut images = Vec::with_capacity(verdicts.len());
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
                    verdicts[n].verdict = ImageCheck::Missing;
                    return Err(unfit(verdicts));
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

fn unfit(verdicts: ImageChecks) -> SubmitError {
    let wrong = |Judged { position, entry, verdict, .. }: &Judged| {
        let of = entry.as_ref().map(|entry| format!("{entry}: ")).unwrap_or_default();
        let error = || FieldError::new(&format!("trainingImages/{position}"), of + &verdict.detail());
        (*verdict != ImageCheck::Ok).then(error)
    };
    SubmitError::Unfit { errors: verdicts.iter().filter_map(wrong).collect(), verdicts }
}
