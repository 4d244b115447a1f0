//! Scaling and instance classes.

super::codes! {
    A0301 Error "more than one kind of scaling"
    what "Only one of `automatic_scaling`, `basic_scaling` and `manual_scaling` may be present."
    why "A version scales in one way."
    => "app.yaml" "runtime: python312\nbasic_scaling:\n  max_instances: 2\nmanual_scaling:\n  instances: 2\n"

    A0302 Error "a minimum above its maximum"
    what "A `min_…` setting is larger than the `max_…` setting that goes with it."
    why "No number of instances, and no wait, could satisfy both."
    => "app.yaml" "runtime: python312\nautomatic_scaling:\n  min_instances: 5\n  max_instances: 2\n"

    A0303 Error "an instance class that does not go with the scaling"
    what "F classes go with automatic scaling, B classes with basic and manual scaling."
    why "Production refuses the other pairs."
    => "app.yaml" "runtime: python312\ninstance_class: B2\n"
}
