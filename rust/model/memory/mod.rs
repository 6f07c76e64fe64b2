//! The memory of a batch: the plan of its matrices, the lists of nonzero elements, and the view that phases use.

mod lifetimes;
mod plan;
mod sparse;
mod view;
mod workspace;
mod zeros;

pub use plan::{Matrix, Plan, Planner, Port, Slot};
pub use sparse::StoredValue;
pub use view::{BatchView, Owners, ROW_BLOCK};
pub use workspace::{BufferSizes, Memory, Workspace};
