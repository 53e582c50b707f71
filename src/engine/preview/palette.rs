//! Colours, and how the hour, the season and the weather change them.

use super::{
    hue::{Hue, glow, rgb},
    noise::Rng,
    words::{Brief, Season, Setting, Time, Weather},
};

/// The colours of one picture.
#[derive(Debug, Clone)]
pub(super) struct Palette {
    /// Zenith, middle, horizon.
    pub(super) sky: [Hue; 3],
    /// Sun or moon.
    pub(super) disc: Hue,
    pub(super) cloud: Hue,
    /// What distance fades into.
    pub(super) haze: Hue,
    /// Far, middle, near.
    pub(super) land: [Hue; 3],
    pub(super) peaks: Hue,
    /// Far, near.
    pub(super) water: [Hue; 2],
    pub(super) leaves: [Hue; 3],
    pub(super) pine: Hue,
    pub(super) dark: bool,
    light: [f32; 3],
    ambient: (Hue, f32),
}

impl Palette {
    pub(super) fn new(brief: &Brief, rng: &mut Rng) -> Self {
        let (sky, disc, cloud, light, ambient) = hour(brief, rng);
        let gloom = match brief.weather {
            Weather::Clear => 0.0,
            Weather::Cloudy => 0.15,
            Weather::Snow => 0.3,
            Weather::Rain | Weather::Fog => 0.42,
            Weather::Storm => 0.55,
        };
        let dark = brief.time == Time::Night || brief.place == Setting::Space;
        let veil = match (dark, brief.weather) {
            (true, _) => rgb(40, 48, 78),
            (false, Weather::Storm) => rgb(86, 94, 116),
            (false, Weather::Snow) => rgb(206, 218, 232),
            (false, _) => rgb(166, 180, 194),
        };
        let sky = sky.map(|hue| hue.mix(veil, gloom));
        let haze = sky[2].mix(sky[1], 0.3);
        let (land, leaves, pine) = seasonal(brief, rng);
        let peaks = if brief.place == Setting::Desert { rgb(206, 132, 96) } else { rgb(112, 128, 164) };
        let water = [rgb(128, 196, 212).mix(sky[2], 0.4), rgb(48, 126, 160)].map(|hue| hue.mix(veil, gloom * 0.6));
        Self { sky, disc, cloud: cloud.mix(veil, gloom), haze, land, peaks, water, leaves, pine, dark, light, ambient }
    }

    /// What a colour looks like at this hour.
    pub(super) fn lit(&self, hue: Hue) -> Hue {
        if hue.glows { hue } else { hue.times(self.light).mix(self.ambient.0, self.ambient.1) }
    }
}

type Hour = ([Hue; 3], Hue, Hue, [f32; 3], (Hue, f32));

fn hour(brief: &Brief, rng: &mut Rng) -> Hour {
    if brief.place == Setting::Space {
        let sky = rng.pick(&[
            [rgb(16, 14, 44), rgb(44, 30, 84), rgb(96, 58, 124)],
            [rgb(10, 18, 46), rgb(22, 48, 92), rgb(52, 96, 134)],
        ]);
        return (sky, glow(255, 240, 206), rgb(120, 100, 160), [0.82, 0.8, 0.95], (rgb(60, 40, 100), 0.12));
    }
    match brief.time {
        Time::Dawn => (
            rng.pick(&[
                [rgb(126, 158, 206), rgb(246, 196, 186), rgb(255, 232, 190)],
                [rgb(150, 170, 214), rgb(244, 188, 200), rgb(255, 224, 196)],
                [rgb(108, 162, 190), rgb(250, 206, 164), rgb(255, 236, 196)],
            ]),
            glow(255, 246, 214),
            rgb(255, 232, 222),
            [1.0, 0.93, 0.92],
            (rgb(250, 196, 176), 0.13),
        ),
        Time::Noon => (
            rng.pick(&[
                [rgb(84, 164, 224), rgb(150, 208, 240), rgb(226, 243, 244)],
                [rgb(98, 178, 214), rgb(166, 216, 228), rgb(240, 244, 226)],
                [rgb(100, 156, 220), rgb(164, 202, 240), rgb(234, 238, 246)],
            ]),
            glow(255, 226, 122),
            rgb(255, 255, 255),
            [1.0, 1.0, 1.0],
            (rgb(255, 240, 200), 0.03),
        ),
        Time::Sunset => (
            rng.pick(&[
                [rgb(84, 76, 142), rgb(232, 122, 112), rgb(255, 200, 118)],
                [rgb(62, 84, 138), rgb(238, 142, 104), rgb(255, 214, 130)],
                [rgb(112, 74, 138), rgb(240, 118, 128), rgb(255, 190, 132)],
            ]),
            glow(255, 232, 150),
            rgb(250, 168, 140),
            [0.96, 0.8, 0.78],
            (rgb(196, 88, 92), 0.16),
        ),
        Time::Night => (
            rng.pick(&[
                [rgb(16, 24, 60), rgb(36, 54, 108), rgb(84, 106, 160)],
                [rgb(22, 22, 62), rgb(54, 50, 110), rgb(112, 96, 156)],
                [rgb(12, 34, 62), rgb(26, 70, 104), rgb(74, 128, 150)],
            ]),
            glow(252, 246, 220),
            rgb(72, 88, 138),
            [0.58, 0.64, 0.86],
            (rgb(36, 52, 108), 0.2),
        ),
    }
}

fn seasonal(brief: &Brief, rng: &mut Rng) -> ([Hue; 3], [Hue; 3], Hue) {
    let pine = rgb(54, 112, 92);
    let (land, leaves) = match brief.season {
        Season::Spring => (
            [rgb(178, 212, 142), rgb(142, 196, 104), rgb(104, 170, 84)],
            [rgb(246, 178, 196), rgb(232, 144, 172), rgb(136, 192, 104)],
        ),
        Season::Summer => (
            [rgb(168, 204, 128), rgb(126, 184, 92), rgb(86, 152, 78)],
            [rgb(84, 160, 84), rgb(62, 136, 82), rgb(124, 182, 86)],
        ),
        Season::Autumn => (
            [rgb(222, 192, 120), rgb(206, 162, 84), rgb(164, 120, 66)],
            [rgb(226, 122, 50), rgb(240, 176, 64), rgb(194, 72, 52)],
        ),
        Season::Winter => (
            [rgb(232, 240, 250), rgb(242, 247, 253), rgb(222, 232, 246)],
            [rgb(214, 228, 242), rgb(196, 214, 232), rgb(232, 240, 248)],
        ),
    };
    let land = match brief.place {
        Setting::Desert if !brief.snowed_in() => rng.pick(&[
            [rgb(240, 204, 148), rgb(234, 178, 112), rgb(208, 138, 84)],
            [rgb(246, 214, 168), rgb(236, 168, 120), rgb(202, 116, 88)],
        ]),
        Setting::Space => [rgb(176, 150, 178), rgb(146, 118, 160), rgb(108, 84, 134)],
        _ => land,
    };
    (land, leaves, if brief.snowed_in() { pine.mix(rgb(150, 186, 206), 0.35) } else { pine })
}
