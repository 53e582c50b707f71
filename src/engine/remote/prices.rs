//! What pictures cost, and in which sizes a model draws, as the configuration knows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use super::frame::SizeClass;
use crate::config::ModelConfig;

/// The key of a price that every size has.
const ANY: &str = "any";

/// The table `engine.models`.
pub(super) struct Prices {
    models: BTreeMap<String, BTreeMap<String, u64>>,
    /// What was warned of already, so that a log is not filled with it.
    warned: Mutex<BTreeSet<String>>,
}

impl Prices {
    pub(super) fn new(models: &[ModelConfig]) -> Self {
        let models = models.iter().map(|model| (model.id.clone(), model.micro_usd.clone())).collect();
        Self { models, warned: Mutex::default() }
    }

    /// The sizes a model has a price for; `None` when it is not in the table. Empty: it has one size, which is not asked for.
    pub(super) fn sizes(&self, model: &str) -> Option<Vec<SizeClass>> {
        let prices = self.models.get(model)?;
        Some(SizeClass::ALL.into_iter().filter(|class| prices.contains_key(class.as_str())).collect())
    }

    /// What `pictures` delivered pictures of that size cost, in millionths of a US dollar. What was withheld is not
    /// charged for. A price that is not known counts as 0 and is warned of, once.
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
    fn a_price_is_of_a_size_or_of_any() {
        let prices = prices();
        assert_eq!(prices.cost("sized", SizeClass::One, 2), 134);
        assert_eq!(prices.cost("sized", SizeClass::Two, 1), 101);
        assert_eq!(prices.cost("flat", SizeClass::Four, 3), 117);
        assert_eq!(prices.cost("flat", SizeClass::Four, 0), 0);
    }

    #[test]
    fn what_has_no_price_costs_nothing_and_is_warned_of_once() {
        let prices = prices();
        for _ in 0..3 {
            assert_eq!(prices.cost("sized", SizeClass::Four, 1), 0);
            assert_eq!(prices.cost("unheard-of", SizeClass::One, 1), 0);
        }
        assert_eq!(prices.warned.lock().unwrap().len(), 2);
    }

    #[test]
    fn a_model_draws_in_the_sizes_it_has_prices_for() {
        let prices = prices();
        assert_eq!(prices.sizes("sized"), Some(vec![SizeClass::One, SizeClass::Two]));
        assert_eq!(prices.sizes("flat"), Some(vec![]));
        assert_eq!(prices.sizes("unheard-of"), None);
    }
}
