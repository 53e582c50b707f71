//! What remote engines have in common, for each of the wire formats; `bodies` and `refusals` have more.

use std::sync::Arc;

use mediaforge::{
    config::{EngineConfig, EngineName, Route},
    domain::failure::{Disposition, ErrorCode},
    engine::remote::{Access, LIMITS, alone},
    google::token::TokenSource,
    http::{self, Limits},
};
use serde_json::Value;
use wiremock::{MockServer, ResponseTemplate};

use super::{
    Engine, RETRY, all, assert_failure, attempt, context, drawn, gemini, imagen, openai, refused,
    server::{self, FakeTokens, Manners, Seen, asked},
    spec,
};
use crate::support::{defaults, soon};

/// How an engine is set up and how its provider speaks.
#[derive(Clone, Copy)]
pub struct Wire {
    pub engine: EngineName,
    pub model: &'static str,
    /// Lets the engine find its provider there.
    pub points_at: fn(&mut EngineConfig, &str),
    /// An answer with pictures, to that request.
    pub answer: fn(&Value, &mut dyn FnMut() -> Vec<u8>) -> Value,
    /// What two pictures cost, in millionths of a US dollar.
    pub two_cost: u64,
}

pub const WIRES: [Wire; 4] = [gemini::WIRE, imagen::WIRE, openai::WIRE, openai::LORA];

impl Wire {
    pub fn name(&self) -> String {
        self.route().to_string()
    }

    fn route(&self) -> Route {
        Route { engine: self.engine, model: self.model.to_owned() }
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
        alone(&self.route(), config, &access).unwrap()
    }

    /// The engine, and a provider with these first answers.
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
async fn pictures_cost_what_the_table_says() {
    for wire in WIRES {
        let (engine, _server) = wire.with([]).await;
        let generation = drawn(&engine, &spec("a fox", "flat-2d", (1024, 1024), 2, 7)).await;
        assert_eq!(generation.cost_micro_usd, wire.two_cost, "{}", wire.name());
        assert_eq!(generation.model, wire.model);
    }
}

#[tokio::test]
async fn a_picture_that_is_paid_for_is_not_drawn_again() {
    for wire in WIRES {
        let refusal = || ResponseTemplate::new(503);
        let (engine, server) = wire.with([]).await;
        // Nine pictures: of Imagen three calls, of the others nine.
        let spec = spec("a fox", "flat-2d", (1024, 1024), 9, 7);
        let whole = drawn(&engine, &spec).await;
        let calls = asked(&server).await.len();
        assert_eq!((whole.images.len(), calls), (9, if wire.engine == EngineName::Imagen { 3 } else { 9 }));

        // One call succeeds; all others of the first attempt are refused.
        let one = ResponseTemplate::new(200).set_body_json((wire.answer)(
            &serde_json::json!({ "parameters": { "sampleCount": 4 } }),
            &mut counting(100),
        ));
        let (engine, server) = wire.with([one].into_iter().chain((0..2).map(|_| refusal()))).await;
        let failure = refused(&engine, &spec, 1).await;
        assert_failure(&failure, ErrorCode::EngineUnavailable, RETRY, &wire.name());
        let first = asked(&server).await.len();
        assert!((2..=3).contains(&first), "after a refusal no further call is begun: {first}");
        // What is left of the script is the refusal that nobody asked for.
        let mut again = engine.generate(&spec, &attempt(2)).await;
        if again.is_err() {
            again = engine.generate(&spec, &attempt(3)).await;
        }
        assert_eq!(again.unwrap().images.len(), 9);
        let answered = asked(&server).await.len();
        assert_eq!(answered, calls + 2, "{}: nine pictures and two refusals", wire.name());

        // Delivered is delivered: who asks again gets other pictures.
        assert_eq!(drawn(&engine, &spec).await.images.len(), 9);
        assert_eq!(asked(&server).await.len(), answered + calls);
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
        // Bound and closed at once: nobody listens there.
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
        assert_eq!(asked(&server).await.len(), 1);
    }
}
