//! Chooses what draws: by the style's word, in brands by the brands', else by the default; and what stands in for it.
//! Knows which models' service ends, and when.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use jiff::{civil::Date, tz::TimeZone};

use super::{AttemptContext, Checked, Generation, ImageEngine, ImageSpec, failed, remote::Provider};
use crate::{
    config::{Config, EngineName},
    domain::{Timestamp, failure::AttemptFailure, kind::JobKind, request::IllustrationSpec},
    error::BackendError,
};

/// How many days before the end of a model's service a warning begins.
const WARN_DAYS: i32 = 60;

/// An engine that asks others to draw.
pub(super) struct Router {
    default: String,
    brands: Option<String>,
    fallback: Option<String>,
    /// By style, where a style has its own.
    styles: BTreeMap<String, String>,
    /// Every route that is named above.
    routes: BTreeMap<String, Target>,
    /// The day a model's service ends.
    retirements: BTreeMap<String, Date>,
}

/// What a route leads to.
struct Target {
    model: String,
    engine: Engine,
}

/// What draws in the end.
#[derive(Clone)]
pub(super) enum Engine {
    /// Without a model.
    BuiltIn(Arc<dyn ImageEngine>),
    /// With any of its models.
    Remote(Arc<dyn Provider>),
}

impl Router {
    /// The routes of a configuration, each engine opened once.
    pub(super) fn new(
        config: &Config,
        mut open: impl FnMut(EngineName) -> Result<Engine, BackendError>,
    ) -> Result<Self, BackendError> {
        let mut engines = BTreeMap::new();
        let mut routes = BTreeMap::new();
        let mut named = |name: &str| {
            let route = config.engine.route(name).map_err(failed)?;
            let shown = route.to_string();
            let engine = match engines.get(&route.engine) {
                Some(engine) => Engine::clone(engine),
                None => engines.entry(route.engine).or_insert(open(route.engine)?).clone(),
            };
            routes.entry(shown.clone()).or_insert(Target { model: route.model, engine });
            Ok(shown)
        };
        let default = named(&config.engine.default)?;
        let brands = config.engine.brands.as_deref().map(&mut named).transpose()?;
        let fallback = config.engine.fallback.as_deref().map(&mut named).transpose()?;
        let own = config.styles.iter().filter_map(|(id, style)| Some((id.clone(), style.engine.as_deref()?)));
        let styles = own.map(|(id, name)| Ok((id, named(name)?))).collect::<Result<_, BackendError>>()?;
        let ends = |day: &str| day.parse::<Date>().map_err(|error| failed(error.to_string()));
        let retirements =
            config.engine.models.iter().filter_map(|model| Some((model.id.clone(), model.retires.as_deref()?)));
        let retirements = retirements.map(|(id, day)| Ok((id, ends(day)?))).collect::<Result<_, BackendError>>()?;
        Ok(Self { default, brands, fallback, styles, routes, retirements })
    }

    /// The route that is meant for a picture.
    fn meant(&self, illustration: &IllustrationSpec) -> &str {
        let style = illustration.style.id.as_str();
        let brands = self.brands.as_deref().filter(|_| JobKind::of_id(style) == Some(JobKind::Brand));
        brands.or_else(|| self.styles.get(style).map(String::as_str)).unwrap_or(&self.default)
    }

    /// What a route leads to. A name that is none of ours was chosen by another configuration, before a restart.
    fn target(&self, route: &str) -> Option<&Target> {
        self.routes.get(route).or_else(|| self.routes.get(&self.default))
    }

    /// What an operator should know of the end of a model's service.
    fn retirement(&self, model: &str, now: Timestamp) -> Option<String> {
        let ends = *self.retirements.get(model)?;
        let today = now.to_zoned(TimeZone::UTC).date();
        let days = today.until(ends).ok()?.get_days();
        let elsewhere = "choose another model (engine.aliases, or the model of the engine's section)";
        match days {
            ..=0 => Some(format!("the service of {model} has ended on {ends}; {elsewhere}")),
            1..=WARN_DAYS => Some(format!("the service of {model} ends on {ends}, in {days} days; {elsewhere}")),
            _ => None,
        }
    }
}

#[async_trait]
impl ImageEngine for Router {
    async fn generate(&self, spec: &ImageSpec, cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        let Some(Target { model, engine }) = self.target(&spec.route) else {
            return Err(AttemptFailure::misconfigured(format!("there is no engine {:?}", spec.route)));
        };
        match engine {
            Engine::BuiltIn(engine) => engine.generate(spec, cx).await,
            Engine::Remote(provider) => provider.generate(spec, model, cx).await,
        }
    }

    fn routes(&self, illustration: &IllustrationSpec) -> Vec<Cow<'_, str>> {
        let meant = self.meant(illustration);
        let fallback = self.fallback.as_deref().filter(|fallback| *fallback != meant);
        std::iter::once(meant).chain(fallback).map(Cow::Borrowed).collect()
    }

    fn references(&self, route: &str) -> usize {
        match self.target(route).map(|target| &target.engine) {
            Some(Engine::Remote(provider)) => provider.references(),
            Some(Engine::BuiltIn(engine)) => engine.references(route),
            None => 0,
        }
    }

    async fn check(&self, now: Timestamp) -> Vec<Checked> {
        let mut found = Vec::new();
        for (route, target) in &self.routes {
            let Engine::Remote(provider) = &target.engine else { continue };
            let outcome = provider.check(&target.model).await;
            let outcome = outcome.map(|note| {
                let notes: BTreeSet<String> = note.into_iter().chain(self.retirement(&target.model, now)).collect();
                (!notes.is_empty()).then(|| notes.into_iter().collect::<Vec<_>>().join("; "))
            });
            found.push(Checked { route: route.clone(), outcome });
        }
        found
    }
}

#[cfg(test)]
mod tests;
