//! Whose tag suffixes are looked for.

use referrers::ResolveOptions;

use crate::convert::options::Mode;

/// Tag suffixes of accelerated images, by who gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// None.
    Neutral,
    /// Those of Alibaba Cloud: _containerd_accelerated, _accelerated.
    Alibaba,
    /// Those of the overlaybd project: _obd, _overlaybd, _turbo.
    Upstream,
}

impl Preset {
    /// How to resolve with these suffixes.
    pub fn options(self) -> ResolveOptions {
        match self {
            Self::Neutral => ResolveOptions::default(),
            Self::Alibaba => ResolveOptions::alibaba(),
            Self::Upstream => ResolveOptions::upstream(),
        }
    }

    /// The suffix that an image of this mode gets, which is looked for; the first, if there are several.
    pub fn suffix(self, mode: Mode) -> Option<&'static str> {
        match (self, mode) {
            (Self::Neutral, _) => None,
            (Self::Alibaba, Mode::Full) => Some("_containerd_accelerated"),
            (Self::Alibaba, Mode::IndexOnly) => Some("_accelerated"),
            (Self::Upstream, Mode::Full) => Some("_obd"),
            (Self::Upstream, Mode::IndexOnly) => Some("_turbo"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_gets_is_looked_for() {
        for preset in [Preset::Neutral, Preset::Alibaba, Preset::Upstream] {
            let looked_for = preset.options().tag_suffixes;
            for mode in [Mode::Full, Mode::IndexOnly] {
                let suffix = preset.suffix(mode);
                assert_eq!(suffix.is_none(), looked_for.is_empty(), "{preset:?}");
                assert!(suffix.is_none_or(|suffix| looked_for.iter().any(|known| *known == suffix)));
            }
        }
    }
}
