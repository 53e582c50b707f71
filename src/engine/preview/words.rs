//! Reads a prompt word by word. Chance decides what it leaves open (see `Brief::read`).

use super::{
    hue::{Hue, rgb},
    noise::{Rng, hash},
};

/// Where it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    Meadow,
    Mountains,
    Forest,
    Coast,
    Lake,
    Desert,
    City,
    Village,
    Space,
}

/// When it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    Dawn,
    Noon,
    Sunset,
    Night,
}

/// What falls or hangs from the sky.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Clear,
    Cloudy,
    Rain,
    Storm,
    Snow,
    Fog,
}

/// What the plants look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Season {
    Spring,
    Summer,
    Autumn,
    Winter,
}

/// What there is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing {
    House,
    Lighthouse,
    Castle,
    Barn,
    Windmill,
    Bridge,
    Church,
    Tent,
    Igloo,
    Pyramid,
    Cat,
    Dog,
    Fox,
    Rabbit,
    Bird,
    Owl,
    Sheep,
    Fish,
    Whale,
    Bear,
    Penguin,
    Duck,
    Pine,
    Oak,
    Palm,
    Cactus,
    Flower,
    Mushroom,
    Sailboat,
    Balloon,
    Rocket,
    Plane,
    Car,
    Snowman,
    Campfire,
    Robot,
}

/// A thing of the prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Item {
    pub(super) thing: Thing,
    /// "red" of "a red barn".
    pub(super) paint: Option<Hue>,
    /// "cats" rather than "a cat".
    pub(super) many: bool,
}

/// The scene that a prompt describes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Brief {
    pub(super) place: Setting,
    pub(super) time: Time,
    pub(super) weather: Weather,
    pub(super) season: Season,
    pub(super) rainbow: bool,
    pub(super) moon: bool,
    /// The most important first.
    pub(super) items: Vec<Item>,
}

#[derive(Debug, Clone, Copy)]
enum Meaning {
    Is(Thing),
    In(Setting),
    At(Time),
    Under(Weather),
    During(Season),
    Painted(Hue),
    Rainbow,
    Moon,
}

/// Things in one picture, at most: more is clutter.
const MAX_ITEMS: usize = 4;

#[rustfmt::skip]
fn meaning(word: &str) -> Option<Meaning> {
    use Meaning::{At, During, In, Is, Moon, Painted, Rainbow, Under};
    use Setting::{City, Coast, Desert, Forest, Lake, Meadow, Mountains, Space, Village};
    Some(match word {
        "house" | "cottage" | "home" | "cabin" | "hut" | "villa" | "farmhouse" | "chalet" => Is(Thing::House),
        "lighthouse" | "beacon" => Is(Thing::Lighthouse),
        "castle" | "palace" | "fortress" | "tower" | "kingdom" => Is(Thing::Castle),
        "barn" | "farm" | "stable" => Is(Thing::Barn),
        "windmill" | "mill" => Is(Thing::Windmill),
        "bridge" | "viaduct" => Is(Thing::Bridge),
        "church" | "chapel" | "cathedral" => Is(Thing::Church),
        "tent" | "camp" | "camping" | "campsite" => Is(Thing::Tent),
        "igloo" => Is(Thing::Igloo),
        "pyramid" => Is(Thing::Pyramid),
        "cat" | "kitten" | "kitty" => Is(Thing::Cat),
        "dog" | "puppy" | "hound" => Is(Thing::Dog),
        "fox" | "wolf" => Is(Thing::Fox),
        "rabbit" | "bunny" | "hare" => Is(Thing::Rabbit),
        "bird" | "seagull" | "gull" | "swallow" | "crane" | "eagle" => Is(Thing::Bird),
        "owl" => Is(Thing::Owl),
        "sheep" | "lamb" => Is(Thing::Sheep),
        "fish" | "goldfish" | "salmon" | "koi" => Is(Thing::Fish),
        "whale" | "dolphin" | "orca" => Is(Thing::Whale),
        "bear" | "panda" => Is(Thing::Bear),
        "penguin" => Is(Thing::Penguin),
        "duck" | "swan" | "goose" | "duckling" => Is(Thing::Duck),
        "pine" | "fir" | "spruce" | "conifer" => Is(Thing::Pine),
        "oak" | "tree" | "maple" | "birch" | "apple" => Is(Thing::Oak),
        "palm" | "coconut" => Is(Thing::Palm),
        "cactus" | "cacti" | "saguaro" => Is(Thing::Cactus),
        "flower" | "tulip" | "rose" | "sunflower" | "daisy" | "poppy" | "lavender" => Is(Thing::Flower),
        "mushroom" | "toadstool" => Is(Thing::Mushroom),
        "sailboat" | "boat" | "ship" | "yacht" | "sail" | "sailing" => Is(Thing::Sailboat),
        "balloon" | "airship" | "zeppelin" => Is(Thing::Balloon),
        "rocket" | "spaceship" | "shuttle" | "launch" => Is(Thing::Rocket),
        "plane" | "airplane" | "aeroplane" | "jet" | "flight" => Is(Thing::Plane),
        "car" | "van" | "truck" | "bus" | "taxi" => Is(Thing::Car),
        "snowman" => Is(Thing::Snowman),
        "campfire" | "bonfire" | "fire" => Is(Thing::Campfire),
        "robot" | "android" => Is(Thing::Robot),

        "meadow" | "field" | "hill" | "countryside" | "grass" | "garden" | "park" | "valley" | "prairie" => In(Meadow),
        "mountain" | "peak" | "alp" | "summit" | "alpine" | "fjord" | "volcano" => In(Mountains),
        "forest" | "wood" | "woodland" | "jungle" | "grove" => In(Forest),
        "sea" | "ocean" | "coast" | "beach" | "island" | "shore" | "harbor" | "harbour" | "wave" | "cliff" => In(Coast),
        "lake" | "pond" | "river" | "lagoon" | "stream" => In(Lake),
        "desert" | "dune" | "sahara" | "canyon" | "sand" => In(Desert),
        "city" | "skyline" | "skyscraper" | "downtown" | "street" | "metropolis" | "urban" | "office" => In(City),
        "village" | "town" | "hamlet" => In(Village),
        "space" | "planet" | "mars" | "galaxy" | "lunar" | "cosmos" | "astronaut" => In(Space),

        "dawn" | "sunrise" | "morning" | "daybreak" => At(Time::Dawn),
        "noon" | "day" | "midday" | "sunny" | "daylight" | "afternoon" => At(Time::Noon),
        "sunset" | "dusk" | "evening" | "golden" | "twilight" => At(Time::Sunset),
        "night" | "midnight" | "star" | "starry" | "nocturnal" => At(Time::Night),
        "moon" | "moonlight" | "moonlit" => Moon,

        "rain" | "rainy" | "drizzle" | "shower" | "wet" => Under(Weather::Rain),
        "storm" | "stormy" | "thunder" | "thunderstorm" | "lightning" => Under(Weather::Storm),
        "snow" | "snowy" | "snowfall" | "blizzard" => Under(Weather::Snow),
        "fog" | "foggy" | "mist" | "misty" | "haze" => Under(Weather::Fog),
        "cloud" | "cloudy" | "overcast" => Under(Weather::Cloudy),
        "rainbow" => Rainbow,

        "spring" | "blossom" | "cherry" => During(Season::Spring),
        "summer" => During(Season::Summer),
        "autumn" | "fall" | "october" | "harvest" => During(Season::Autumn),
        "winter" | "arctic" | "ice" | "frozen" | "christmas" | "antarctic" => During(Season::Winter),

        "red" | "crimson" | "scarlet" => Painted(rgb(206, 62, 54)),
        "blue" | "azure" => Painted(rgb(62, 118, 196)),
        "green" | "emerald" => Painted(rgb(70, 150, 96)),
        "yellow" => Painted(rgb(244, 198, 66)),
        "pink" => Painted(rgb(240, 148, 172)),
        "purple" | "violet" => Painted(rgb(134, 92, 176)),
        "orange" | "ginger" => Painted(rgb(236, 134, 56)),
        "white" => Painted(rgb(246, 243, 236)),
        "black" => Painted(rgb(54, 52, 62)),
        "brown" => Painted(rgb(142, 98, 66)),
        "grey" | "gray" | "silver" => Painted(rgb(156, 160, 170)),
        _ => return None,
    })
}

/// The meaning of a word or of its singular, and whether it was a plural.
fn look_up(word: &str) -> Option<(Meaning, bool)> {
    if let Some(meaning) = meaning(word) {
        return Some((meaning, false));
    }
    let stem = |end: &str, with: &str| word.strip_suffix(end).map(|stem| format!("{stem}{with}"));
    let singulars = [stem("ies", "y"), stem("ves", "f"), stem("es", ""), stem("s", "")];
    singulars.into_iter().flatten().find_map(|singular| meaning(&singular)).map(|meaning| (meaning, true))
}

impl Brief {
    /// Reads a prompt; `rng` decides what it leaves open.
    pub(super) fn read(prompt: &str, rng: &Rng) -> Self {
        let mut rng = rng.fork(hash("brief"));
        let (mut place, mut time, mut weather, mut season) = (None, None, None, None);
        let (mut rainbow, mut moon, mut paint) = (false, false, None);
        let mut items: Vec<Item> = Vec::new();
        let lower = prompt.to_lowercase();
        for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let Some((meaning, many)) = look_up(word) else { continue };
            match meaning {
                Meaning::Is(thing) => {
                    let known = items.iter().any(|item| item.thing == thing);
                    if !known && items.len() < MAX_ITEMS {
                        items.push(Item { thing, paint: paint.take(), many });
                    }
                }
                Meaning::In(found) => place = place.or(Some(found)),
                Meaning::At(found) => time = time.or(Some(found)),
                Meaning::Under(found) => weather = weather.or(Some(found)),
                Meaning::During(found) => season = season.or(Some(found)),
                Meaning::Painted(hue) => paint = Some(hue),
                Meaning::Rainbow => rainbow = true,
                Meaning::Moon => moon = true,
            }
        }
        if items.is_empty() && place.is_none() {
            let (found, thing) = rng.pick(&DEFAULTS);
            place = Some(found);
            items.push(Item { thing, paint: None, many: false });
        }
        let place = place.or_else(|| items.iter().find_map(|item| home(item.thing))).unwrap_or(Setting::Meadow);
        if moon && time.is_none() {
            time = Some(Time::Night);
        }
        let snowy = weather == Some(Weather::Snow)
            || items.iter().any(|item| matches!(item.thing, Thing::Igloo | Thing::Penguin | Thing::Snowman));
        let time = time.unwrap_or_else(|| {
            // Snow looks its best in a cold light.
            let last = if snowy || season == Some(Season::Winter) { Time::Noon } else { Time::Sunset };
            rng.pick(&[Time::Dawn, Time::Noon, Time::Noon, last])
        });
        let season = match season {
            Some(season) => season,
            None if snowy => Season::Winter,
            None => rng.pick(&[Season::Spring, Season::Summer, Season::Summer, Season::Autumn]),
        };
        let weather = weather.unwrap_or(Weather::Clear);
        Self { place, time, weather, season, rainbow, moon, items }
    }

    /// Whether the ground is white.
    pub(super) fn snowed_in(&self) -> bool {
        self.season == Season::Winter
    }
}

/// The subjects for a prompt without a known word.
const DEFAULTS: [(Setting, Thing); 8] = [
    (Setting::Meadow, Thing::House),
    (Setting::Meadow, Thing::Windmill),
    (Setting::Meadow, Thing::Balloon),
    (Setting::Lake, Thing::Sailboat),
    (Setting::Coast, Thing::Lighthouse),
    (Setting::Mountains, Thing::Tent),
    (Setting::Forest, Thing::House),
    (Setting::Village, Thing::Church),
];

/// The setting of a thing, for a prompt without one.
fn home(thing: Thing) -> Option<Setting> {
    Some(match thing {
        Thing::Lighthouse | Thing::Whale | Thing::Palm => Setting::Coast,
        Thing::Sailboat | Thing::Duck | Thing::Fish | Thing::Bridge => Setting::Lake,
        Thing::Cactus | Thing::Pyramid => Setting::Desert,
        Thing::Pine | Thing::Bear | Thing::Mushroom | Thing::Owl | Thing::Campfire => Setting::Forest,
        Thing::Castle | Thing::Tent => Setting::Mountains,
        Thing::Rocket => Setting::Space,
        Thing::Church => Setting::Village,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(prompt: &str) -> Brief {
        Brief::read(prompt, &Rng::new(1))
    }

    #[test]
    fn follows_the_words() {
        let brief = read("A red BARN in the snow!");
        assert_eq!(brief.items, [Item { thing: Thing::Barn, paint: Some(rgb(206, 62, 54)), many: false }]);
        assert_eq!((brief.weather, brief.season), (Weather::Snow, Season::Winter));
        let brief = read("foxes in an autumn forest");
        assert!(brief.items[0].many && brief.items[0].thing == Thing::Fox);
        assert_eq!((brief.place, brief.season), (Setting::Forest, Season::Autumn));
        assert_eq!(read("city skyline at night in the rain").time, Time::Night);
        assert_eq!(read("a lighthouse at dawn").place, Setting::Coast);
        assert_eq!(read("the moon").time, Time::Night);
    }

    #[test]
    fn unknown_words_get_a_random_subject() {
        for prompt in ["quantum computing onboarding", "", "…", "日本語", "s es ies"] {
            assert_eq!(read(prompt).items.len(), 1, "{prompt}");
        }
    }

    #[test]
    fn a_long_list_is_cut_short() {
        assert_eq!(read("cat dog fox owl bear duck sheep rabbit cat cat").items.len(), MAX_ITEMS);
    }
}
