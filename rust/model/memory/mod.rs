//! The memory of a batch: where its matrices lie, the lists of what is not zero, and the view that phases work on.

mod plan;
mod sparse;
mod view;
mod workspace;
mod zeros;

pub use plan::{Matrix, Plan, Planner, Port, Slot};
pub use sparse::StoredValue;
pub use view::{BatchView, Owners, ROW_BLOCK};
pub use workspace::{Memory, Rooms, Workspace};
