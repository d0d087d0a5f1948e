//! Finds how a model runs best on this box, by measuring, and proves what was found to other boxes of its class.
//!
//! ```text
//! variants × keys and values × threads × conversations × context            setting
//!   └─► without what does not fit or would be too slow                       prune     (planner: needs, speed)
//!        └─► missing variants are made                                       variants  (engine: quantize)
//!             └─► speeds, each kept once measured                            measuring (engine: rehearse; probe: watching)
//!                  └─► how far each is from the largest, and the tasks       quality   (engine: evaluate)
//!                       └─► what nothing else beats in everything            pareto
//!                            └─► the best under the limits                   choice
//!                                 └─► signed                                 evidence ─► reuse, on another box
//! ```

mod choice;
pub(crate) mod class;
pub(crate) mod evidence;
pub(crate) mod figures;
pub(crate) mod kept;
pub(crate) mod limits;
mod measuring;
mod pareto;
pub(crate) mod picture;
mod prune;
pub(crate) mod quality;
pub(crate) mod reuse;
pub(crate) mod setting;
pub(crate) mod tasks;
pub(crate) mod used;
pub(crate) mod variants;
pub(crate) mod work;
