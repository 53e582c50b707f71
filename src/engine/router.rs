//! Chooses the engine of a picture: its style's own, for brands the brands', else the default; and the fallback. Knows
//! when the service of a model ends.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use jiff::{civil::Date, tz::TimeZone};

use super::{AttemptContext, Generation, ImageEngine, ImageSpec, ModelCheck, failed, remote::Provider};
use crate::{
    config::Config,
    domain::{Timestamp, failure::AttemptFailure, kind::JobKind, request::IllustrationSpec},
    error::BackendError,
};

/// Days before the end of a model's service from which on a note warns of it.
const WARN_DAYS: i32 = 60;

/// An engine that delegates to the configured engines.
pub(super) struct Router {
    default: String,
    brands: Option<String>,
    fallback: Option<String>,
    /// The route of each style that has its own.
    styles: BTreeMap<String, String>,
    /// All of the routes above.
    routes: BTreeMap<String, Target>,
    /// The day on which a model's service ends.
    retirements: BTreeMap<String, Date>,
}

/// What a route stands for.
struct Target {
    model: String,
    engine: Engine,
}

/// An opened engine.
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
        mut open: impl FnMut(&'static str) -> Result<Engine, BackendError>,
    ) -> Result<Self, BackendError> {
        let mut engines = BTreeMap::new();
        let mut routes = BTreeMap::new();
        let mut named = |name: &str| {
            let route = config.engine.route(name).map_err(failed)?;
            let shown = route.to_string();
            let engine = match engines.get(route.engine) {
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

    /// The preferred route of a picture.
    fn preferred(&self, illustration: &IllustrationSpec) -> &str {
        let style = illustration.style.id.as_str();
        let brands = self.brands.as_deref().filter(|_| JobKind::of_id(style) == Some(JobKind::Brand));
        brands.or_else(|| self.styles.get(style).map(String::as_str)).unwrap_or(&self.default)
    }

    /// The target of a route. A job that was claimed before a restart can name a route that is no longer configured; the
    /// default draws it.
    fn target(&self, route: &str) -> Option<&Target> {
        self.routes.get(route).or_else(|| self.routes.get(&self.default))
    }

    /// A note about the end of a model's service, if it is near.
    fn retirement(&self, model: &str, now: Timestamp) -> Option<String> {
        let ends = *self.retirements.get(model)?;
        let today = now.to_zoned(TimeZone::UTC).date();
        let days = today.until(ends).ok()?.get_days();
        let advice = "choose another model (engine.aliases, or the model of the engine's section)";
        match days {
            ..=0 => Some(format!("the service of {model} has ended on {ends}; {advice}")),
            1..=WARN_DAYS => Some(format!("the service of {model} ends on {ends}, in {days} days; {advice}")),
            _ => None,
        }
    }
}

#[async_trait]
impl ImageEngine for Router {
    async fn generate(&self, spec: &ImageSpec, cx: &AttemptContext) -> Result<Generation, AttemptFailure> {
        let Some(Target { model, engine }) = self.target(&spec.route) else {
            return Err(AttemptFailure::misconfigured(format!("the engine {:?} does not exist", spec.route)));
        };
        match engine {
            Engine::BuiltIn(engine) => engine.generate(spec, cx).await,
            Engine::Remote(provider) => provider.generate(spec, model, cx).await,
        }
    }

    fn routes(&self, illustration: &IllustrationSpec) -> Vec<Cow<'_, str>> {
        let preferred = self.preferred(illustration);
        let fallback = self.fallback.as_deref().filter(|fallback| *fallback != preferred);
        std::iter::once(preferred).chain(fallback).map(Cow::Borrowed).collect()
    }

    fn references(&self, route: &str) -> usize {
        match self.target(route).map(|target| &target.engine) {
            Some(Engine::Remote(provider)) => provider.references(),
            Some(Engine::BuiltIn(engine)) => engine.references(route),
            None => 0,
        }
    }

    async fn check(&self, now: Timestamp) -> Vec<ModelCheck> {
        let mut checks = Vec::new();
        for (route, target) in &self.routes {
            let Engine::Remote(provider) = &target.engine else { continue };
            let outcome = provider.check(&target.model).await;
            let outcome = outcome.map(|note| {
                let notes: BTreeSet<String> = note.into_iter().chain(self.retirement(&target.model, now)).collect();
                (!notes.is_empty()).then(|| notes.into_iter().collect::<Vec<_>>().join("; "))
            });
            checks.push(ModelCheck { route: route.clone(), outcome });
        }
        checks
    }
}

#[cfg(test)]
mod tests;
