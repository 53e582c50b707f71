//! Prices of pictures and sizes of models, from the configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use super::frame::SizeClass;
use crate::config::ModelConfig;

/// The key of a price for every size.
const ANY: &str = "any";

/// The table `engine.models`.
pub(super) struct Prices {
    models: BTreeMap<String, BTreeMap<String, u64>>,
    /// Missing prices that were logged, so that each is logged once.
    warned: Mutex<BTreeSet<String>>,
}

impl Prices {
    pub(super) fn new(models: &[ModelConfig]) -> Self {
        let models = models.iter().map(|model| (model.id.clone(), model.micro_usd.clone())).collect();
        Self { models, warned: Mutex::default() }
    }

    /// The sizes that have a price; `None` for a model that is not in the table. Empty means a single size, which must not
    /// be requested.
    pub(super) fn sizes(&self, model: &str) -> Option<Vec<SizeClass>> {
        let prices = self.models.get(model)?;
        Some(SizeClass::ALL.into_iter().filter(|class| prices.contains_key(class.as_str())).collect())
    }

    /// The cost of delivered pictures of that size, in millionths of a US dollar; providers do not charge for withheld
    /// ones. An unknown price counts as 0 and is logged once.
    pub(super) fn cost(&self, model: &str, class: SizeClass, pictures: usize) -> u64 {
        let prices = self.models.get(model);
        let Some(price) = prices.and_then(|prices| prices.get(class.as_str()).or_else(|| prices.get(ANY))) else {
            let unknown = format!("{model} {}", class.as_str());
            if self.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(unknown) {
                let size = class.as_str();
                tracing::warn!(model, size, "engine.models has no price for this; its pictures count as free of cost");
            }
            return 0;
        };
        price.saturating_mul(pictures as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices() -> Prices {
        let model = |id: &str, prices: &[(&str, u64)]| ModelConfig {
            id: id.to_owned(),
            micro_usd: prices.iter().map(|(class, price)| ((*class).to_owned(), *price)).collect(),
            retires: None,
        };
        Prices::new(&[model("sized", &[("1K", 67), ("2K", 101)]), model("flat", &[("any", 39)])])
    }

    #[test]
    fn a_price_is_for_one_size_or_for_any() {
        let prices = prices();
        assert_eq!(prices.cost("sized", SizeClass::One, 2), 134);
        assert_eq!(prices.cost("sized", SizeClass::Two, 1), 101);
        assert_eq!(prices.cost("flat", SizeClass::Four, 3), 117);
        assert_eq!(prices.cost("flat", SizeClass::Four, 0), 0);
    }

    #[test]
    fn an_unknown_price_is_zero_and_logged_once() {
        let prices = prices();
        for _ in 0..3 {
            assert_eq!(prices.cost("sized", SizeClass::Four, 1), 0);
            assert_eq!(prices.cost("unheard-of", SizeClass::One, 1), 0);
        }
        assert_eq!(prices.warned.lock().unwrap().len(), 2);
    }

    #[test]
    fn the_sizes_of_a_model_are_those_with_prices() {
        let prices = prices();
        assert_eq!(prices.sizes("sized"), Some(vec![SizeClass::One, SizeClass::Two]));
        assert_eq!(prices.sizes("flat"), Some(vec![]));
        assert_eq!(prices.sizes("unheard-of"), None);
    }
}
