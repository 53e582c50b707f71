//! The request and the output as flat fields, and back: the part that differs by kind of job.

use super::{InvalidDocument, JobDocument};
use crate::domain::{
    brand::{BrandSpec, TrainedBrand},
    ids::JobId,
    job::{Hold, Output, Pictures, Work},
    kind::JobKind,
    request::IllustrationSpec,
    style::{Learnt, Style},
};

impl JobDocument {
    pub(super) fn write_request(&mut self, id: &JobId, work: &Work) {
        match work.clone() {
            Work::Illustration(spec) => {
                let IllustrationSpec { prompt, style, width, height, count, seed } = spec;
                let Style { id: style_id, name, description, modifier, palette, learnt } = style;
                let Learnt { references, model_path } = learnt;
                self.illustration_id = Some(id.clone());
                self.prompt = Some(prompt);
                self.style_id = Some(style_id);
                self.style_name = Some(name);
                self.style_description = Some(description);
                self.style_modifier = Some(modifier);
                self.style_palette = (!palette.is_empty()).then_some(palette);
                self.style_references = (!references.is_empty()).then_some(references);
                self.style_model_path = model_path;
                self.width = Some(width);
                self.height = Some(height);
                self.count = Some(count);
                self.seed = seed;
            }
            Work::Brand(BrandSpec { name, colors, images }) => {
                self.brand_id = Some(id.clone());
                self.name = Some(name);
                self.colors = Some(colors);
                self.image_count = Some(images.len());
                self.training_images = Some(images);
            }
        }
    }

    pub(super) fn read_request(&mut self, kind: JobKind) -> Result<Work, InvalidDocument> {
        Ok(match kind {
            JobKind::Illustration => Work::Illustration(IllustrationSpec {
                prompt: self.need("prompt", |it| it.prompt.take())?,
                style: Style {
                    id: self.need("styleId", |it| it.style_id.take())?,
                    name: self.need("styleName", |it| it.style_name.take())?,
                    description: self.style_description.take().unwrap_or_default(),
                    modifier: self.style_modifier.take().unwrap_or_default(),
                    palette: self.style_palette.take().unwrap_or_default(),
                    learnt: Learnt {
                        references: self.style_references.take().unwrap_or_default(),
                        model_path: self.style_model_path.take(),
                    },
                },
                width: self.need("width", |it| it.width)?,
                height: self.need("height", |it| it.height)?,
                count: self.need("count", |it| it.count)?,
                seed: self.seed,
            }),
            JobKind::Brand => Work::Brand(BrandSpec {
                name: self.need("name", |it| it.name.take())?,
                colors: self.need("colors", |it| it.colors.take())?,
                images: self.need("trainingImages", |it| it.training_images.take())?,
            }),
        })
    }

    pub(super) fn write_output(&mut self, output: Output, hold: Hold) {
        let delivered = output.delivered().min(hold.units);
        self.credits_used = Some(hold.unit.saturating_mul(delivered.into()));
        let cost = match output {
            Output::Pictures(pictures) => self.write_pictures(pictures),
            Output::Brand(brand) => self.write_brand(brand),
        };
        #[expect(clippy::cast_precision_loss, reason = "for readers; costMicroUsd is exact")]
        let dollars = cost as f64 / 1e6;
        self.cost_usd = Some(dollars);
        self.cost_micro_usd = Some(cost);
    }

    fn write_pictures(&mut self, pictures: Pictures) -> u64 {
        let Pictures { images, thumbnail_key, filtered, model, final_prompt, seed, cost_micro_usd, generation_ms } =
            pictures;
        self.images = Some(images);
        self.thumbnail_key = thumbnail_key;
        self.filtered = Some(filtered);
        self.model_used = Some(model);
        self.final_prompt = Some(final_prompt);
        self.used_seed = seed;
        self.generation_ms = Some(generation_ms);
        cost_micro_usd
    }

    fn write_brand(&mut self, brand: TrainedBrand) -> u64 {
        let TrainedBrand { palette, model_path, samples, cost_micro_usd, training_ms } = brand;
        self.palette = Some(palette);
        self.model_path = model_path;
        self.samples = Some(samples);
        self.training_ms = Some(training_ms);
        cost_micro_usd
    }

    pub(super) fn read_output(&mut self, kind: JobKind) -> Result<Output, InvalidDocument> {
        let cost_micro_usd = self.cost_micro_usd.unwrap_or_default();
        Ok(match kind {
            JobKind::Illustration => Output::Pictures(Pictures {
                images: self.need("images", |it| it.images.take())?,
                thumbnail_key: self.thumbnail_key.take(),
                filtered: self.filtered.unwrap_or_default(),
                model: self.need("modelUsed", |it| it.model_used.take())?,
                final_prompt: self.need("finalPrompt", |it| it.final_prompt.take())?,
                seed: self.used_seed,
                cost_micro_usd,
                generation_ms: self.generation_ms.unwrap_or_default(),
            }),
            JobKind::Brand => Output::Brand(TrainedBrand {
                palette: self.need("palette", |it| it.palette.take())?,
                model_path: self.model_path.take(),
                samples: self.samples.take().unwrap_or_default(),
                cost_micro_usd,
                training_ms: self.training_ms.unwrap_or_default(),
            }),
        })
    }
}
