//! What holds the engine together: its settings, its layers, its cores and where stages are placed.

mod connect_settings;
mod layers;
mod placements;
mod settings;
mod transport;
