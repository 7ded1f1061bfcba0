//! Conversion: any image becomes an accelerated image beside it.
pub mod ahead;
pub mod document;
pub mod layer_stream;
pub mod records;
