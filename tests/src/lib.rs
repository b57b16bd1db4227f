//! What the cross-crate scenarios share: a naive reference of the whole engine, random histories, and the lock-step that runs both
//! and compares everything. Nothing here is linked into the product.

pub mod crowded;
pub mod history;
pub mod keepsake;
pub mod killed;
pub mod lockstep;
pub mod random;
pub mod reference;
pub mod scenario;
pub mod small;
