//! Cases for all remote engines, with each wire format; `bodies` and `refusals` have more.

use std::sync::Arc;

use mediaforge::{
    config::{Config, EngineConfig},
    domain::{
        clock::{Random, SystemRandom},
        failure::{Disposition, ErrorCode},
    },
    engine::{
        self,
        remote::{Access, LIMITS},
    },
    google::token::TokenSource,
    http::{self, Limits},
};
use serde_json::Value;
use wiremock::{MockServer, ResponseTemplate};

use super::{
    Engine, RETRY, all, assert_failure, attempt, context, drawn, gemini, imagen, openai, refused,
    server::{self, FakeTokens, Manners, Seen, received},
    spec,
};
use crate::support::{defaults, soon};

/// The set-up of an engine and the wire format of its provider.
#[derive(Clone, Copy)]
pub struct Wire {
    pub engine: &'static str,
    pub model: &'static str,
    /// Sets the address of the provider.
    pub points_at: fn(&mut EngineConfig, &str),
    /// A response with pictures to a request.
    pub answer: fn(&Value, &mut dyn FnMut() -> Vec<u8>) -> Value,
    /// The cost of two pictures, in millionths of a US dollar.
    pub two_cost: u64,
}

pub const WIRES: [Wire; 4] = [gemini::WIRE, imagen::WIRE, openai::WIRE, openai::LORA];

impl Wire {
    pub fn name(&self) -> String {
        format!("{}/{}", self.engine, self.model)
    }

    pub fn config(&self, address: &str) -> EngineConfig {
        let mut config = defaults().engine;
        (self.points_at)(&mut config, address);
        config
    }

    /// The engine, with its provider at that address.
    pub fn open(&self, address: &str) -> Engine {
        self.open_with(&self.config(address), Arc::new(FakeTokens::default()), LIMITS)
    }

    pub fn open_with(&self, config: &EngineConfig, tokens: Arc<dyn TokenSource>, limits: Limits) -> Engine {
        let project = Some("acme-pictures".to_owned());
        let access = Access { project, http: http::client().unwrap(), tokens, limits };
        self.open_in(config, &access)
    }

    /// The engine alone, as the default and without a fallback.
    pub fn open_in(&self, config: &EngineConfig, access: &Access) -> Engine {
        let engine = EngineConfig { default: self.name(), ..config.clone() };
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        engine::open_with(&Config { engine, ..defaults() }, &random, || Ok(access.clone())).unwrap()
    }

    /// The engine, and a provider with these first responses.
    pub async fn with(&self, first: impl IntoIterator<Item = ResponseTemplate>) -> (Engine, MockServer) {
        let server = server::provider(self.answer, first).await;
        (self.open(&server.uri()), server)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_remote_engine_keeps_the_contract() {
    for wire in WIRES {
        let server = server::provider(wire.answer, []).await;
        all(&wire.name(), async || wire.open(&server.uri())).await;
    }
}

#[tokio::test]
async fn pictures_cost_the_configured_price() {
    for wire in WIRES {
        let (engine, _server) = wire.with([]).await;
        let generation = drawn(&engine, &spec("a fox", "flat-2d", (1024, 1024), 2, 7)).await;
        assert_eq!(generation.cost_micro_usd, wire.two_cost, "{}", wire.name());
        assert_eq!(generation.model, wire.model);
    }
}

#[tokio::test]
async fn a_paid_picture_is_not_drawn_again() {
    for wire in WIRES {
        let refusal = || ResponseTemplate::new(503);
        let (engine, server) = wire.with([]).await;
        // Nine pictures are three calls of Imagen, and nine of the others.
        let spec = spec("a fox", "flat-2d", (1024, 1024), 9, 7);
        let whole = drawn(&engine, &spec).await;
        let calls = received(&server).await.len();
        assert_eq!((whole.images.len(), calls), (9, if wire.engine == "imagen" { 3 } else { 9 }));

        // One call succeeds; all others of the first attempt are refused.
        let one = ResponseTemplate::new(200).set_body_json((wire.answer)(
            &serde_json::json!({ "parameters": { "sampleCount": 4 } }),
            &mut counting(100),
        ));
        let (engine, server) = wire.with([one].into_iter().chain((0..2).map(|_| refusal()))).await;
        let failure = refused(&engine, &spec, 1).await;
        assert_failure(&failure, ErrorCode::EngineUnavailable, RETRY, &wire.name());
        let first = received(&server).await.len();
        assert!((2..=3).contains(&first), "after a refusal no further call is begun: {first}");
        // The script still contains the refusal that no call has fetched.
        let mut again = engine.generate(&spec, &attempt(2)).await;
        if again.is_err() {
            again = engine.generate(&spec, &attempt(3)).await;
        }
        assert_eq!(again.unwrap().images.len(), 9);
        let answered = received(&server).await.len();
        assert_eq!(answered, calls + 2, "{}: nine pictures and two refusals", wire.name());

        // After the delivery, the same call draws other pictures.
        assert_eq!(drawn(&engine, &spec).await.images.len(), 9);
        assert_eq!(received(&server).await.len(), answered + calls);
    }
}

fn counting(from: u64) -> impl FnMut() -> Vec<u8> {
    let mut n = from;
    move || {
        n += 1;
        server::png(n)
    }
}

#[tokio::test]
async fn dropping_the_call_stops_it() {
    for wire in WIRES {
        let (address, mut seen) = server::raw(Manners::Silent).await;
        let engine = wire.open(&address);
        let call = tokio::spawn(async move {
            let (cx, _seen) = context();
            engine.generate(&spec("a fox", "flat-2d", (512, 512), 1, 1), &cx).await.map(drop)
        });
        assert_eq!(soon("the request", seen.recv()).await, Some(Seen::Request));
        call.abort();
        assert_eq!(soon("the end of the connection", seen.recv()).await, Some(Seen::Gone), "{}", wire.name());
    }
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_tried_again() {
    for wire in WIRES {
        // Bound and closed at once, so that no process listens there.
        let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let engine = wire.open(&format!("http://{address}"));
        let failure = refused(&engine, &spec("a fox", "flat-2d", (512, 512), 1, 1), 5).await;
        assert_failure(&failure, ErrorCode::EngineUnavailable, RETRY, &wire.name());
        let [checked] = <[_; 1]>::try_from(engine.check(crate::support::start()).await).unwrap();
        assert_failure(&checked.outcome.unwrap_err(), ErrorCode::EngineUnavailable, RETRY, &wire.name());
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_but_reported() {
    for wire in WIRES {
        let elsewhere = ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/");
        let (engine, server) = wire.with([elsewhere]).await;
        let failure = refused(&engine, &spec("a fox", "flat-2d", (512, 512), 1, 1), 1).await;
        assert_failure(&failure, ErrorCode::EngineMisconfigured, Disposition::Misconfigured, &wire.name());
        assert_eq!(received(&server).await.len(), 1);
    }
}
