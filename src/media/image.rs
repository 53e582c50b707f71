//! Pixels: decode within limits, bring to size, make thumbnails.
