//! Direct access to the stores of a running system: submits trainings, watches them and reads their results.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use image::{DynamicImage, Rgb as Pixel, RgbImage};
use mediaforge::{
    config::{Environment, Roles, Sources, load},
    domain::{
        brand::{BrandSpec, TrainedBrand, TrainingImage},
        clock::{Clock as _, SystemClock, SystemRandom},
        ids::{JobId, RequestHash, UserId},
        job::{Job, JobPolicy, NewJob, Output, State, Work},
        kind::JobKind,
        palette::Rgb,
        pricing::Prices,
        retry::RetryPolicy,
    },
    embedded::Embedded,
    media::{self, MediaFormat, MediaKey, MediaStore},
    store::{self, Inserted, JobStore, Watch},
};
use tokio::time::timeout;

use crate::support::{System, TIMEOUT, google_cloud::PROJECT};

/// The colours of the brand. Its pictures also have others.
const COLORS: [&str; 2] = ["#ff6600", "#14213d"];

/// The stores of a running system, opened beside it.
pub struct Backstage {
    pub store: Arc<dyn JobStore>,
    media: Arc<dyn MediaStore>,
    embedded: Option<Embedded>,
}

impl Backstage {
    pub fn of(system: &System) -> Self {
        let embedded = Embedded::open(&system.data_dir(), &[]).expect("the data directory");
        let store = store::open_sqlite(&embedded).jobs;
        let media = media::open_disk(&system.data_dir()).expect("media");
        Self { store, media, embedded: Some(embedded) }
    }

    pub fn on_google_cloud(system: &System) -> Self {
        let variables: Vec<_> = system.variables().collect();
        let environment = Environment::of(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let environment = environment.with_user_data_dir(system.data_dir());
        let config = load(&Sources { environment, roles: Some(Roles::WORKER), ..Sources::default() });
        let config = config.unwrap_or_else(|error| panic!("{error}")).config;
        let store = store::open_firestore(PROJECT, &config.store.firestore).expect("a client").jobs;
        let media = media::open_gcs(&config.media.gcs).expect("a client");
        Self { store, media, embedded: None }
    }

    /// Stores five pictures and submits a training, as a gateway does.
    pub async fn submit(&self) -> JobId {
        self.submit_within(Duration::from_hours(1)).await
    }

    pub async fn submit_within(&self, time_limit: Duration) -> JobId {
        let (user, id): (UserId, _) = ("ada".parse().expect("an id"), JobId::random(JobKind::Brand, &SystemRandom));
        let mut images = Vec::new();
        for n in 0..5 {
            let key: MediaKey = format!("brands/{user}/{id}/training-{n}.png").parse().expect("a key");
            let bytes = media::image::png(&picture(n)).expect("a picture");
            self.media.put(&key, MediaFormat::Png, bytes).await.expect("stored");
            images.push(TrainingImage { key: key.to_string(), width: 600, height: 512 });
        }
        let new_job = NewJob {
            id: id.clone(),
            user,
            team: None,
            work: Work::Brand(BrandSpec { name: "Acme".to_owned(), colors: colors(), images }),
            request_hash: RequestHash::of(b"acme"),
            trace: None,
            time_limit,
            starting_grant: 1000,
        };
        let prices = Prices { image: 1, image_large: 2, large_above_px: 1536, training: 25 };
        let first = Job::submit(new_job, SystemClock.now(), &prices, &policy());
        let inserted = self.store.insert(&first).await.expect("inserted");
        // Firestore does not publish; there the sweeper publishes the message later.
        let dispatched = self.embedded.is_some();
        assert!(matches!(&inserted, Inserted::New { dispatched: done, .. } if *done == dispatched), "{inserted:?}");
        id
    }

    pub async fn job(&self, id: &JobId) -> Job {
        self.store.get(id).await.expect("read").expect("there").value
    }

    /// Waits until the job fulfils a condition.
    pub async fn until(&self, system: &System, id: &JobId, wanted: impl Fn(&Job) -> bool) -> Job {
        let mut changes = self.store.watch(Watch::Job(id.clone()));
        let wait = async {
            loop {
                let job = changes.next().await.expect("the stream continues").expect("a change").value;
                if wanted(&job) {
                    return job;
                }
            }
        };
        timeout(TIMEOUT, wait).await.unwrap_or_else(|_| panic!("{id} never fulfilled the condition: {}", system.logs()))
    }

    pub async fn begun(&self, system: &System, id: &JobId) -> String {
        let job = self.until(system, id, |job| job.operation().is_some()).await;
        job.operation().expect("begun").to_owned()
    }

    /// Waits for the ready brand and checks that its pictures exist.
    pub async fn ready(&self, system: &System, id: &JobId) -> (Job, TrainedBrand) {
        let job = self.until(system, id, |job| job.status().is_final()).await;
        let State::Succeeded { output: Output::Brand(trained), .. } = &job.state else {
            panic!("{:?}: {}", job.state, system.logs())
        };
        for sample in &trained.samples {
            let key: MediaKey = sample.key.parse().expect("a key");
            let info = self.media.head(&key).await.expect("read").expect("stored");
            assert_eq!((info.length, sample.width, sample.height), (sample.bytes, 512, 512));
        }
        let trained = trained.clone();
        (job, trained)
    }

    pub async fn request_cancel(&self, id: &JobId) {
        for _ in 0..10 {
            let found = self.store.get(id).await.expect("read").expect("there");
            let next = found.value.request_cancel(SystemClock.now(), &policy()).expect("it runs");
            if self.store.commit(found.version, &next).await.is_ok() {
                return;
            }
        }
        panic!("{id} keeps changing");
    }
}

fn policy() -> JobPolicy {
    JobPolicy {
        retry: RetryPolicy { max_attempts: 5, base: Duration::from_millis(50), cap: Duration::from_secs(1) },
        republish_after: Duration::from_secs(2),
        republish_cap: Duration::from_secs(2),
        cancel_grace: Duration::from_secs(5),
        queue_delays: true,
    }
}

pub fn colors() -> Vec<Rgb> {
    COLORS.iter().map(|color| color.parse().expect("a colour")).collect()
}

/// Stripes of orange, navy, sand and teal, different in each picture.
fn picture(n: u32) -> DynamicImage {
    let stripes = [[255, 102, 0], [20, 33, 61], [233, 216, 166], [10, 147, 150], [148, 27, 12], [238, 155, 0]];
    let stripe = |x: u32, y: u32| stripes[((x / 100 + y / 128 * n) % 6) as usize];
    DynamicImage::ImageRgb8(RgbImage::from_fn(600, 512, |x, y| Pixel(stripe(x, y))))
}
