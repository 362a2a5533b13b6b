"""RadIR models for transformers: importing this package makes AutoModel and its kin know them.

In the order of use: `configuration_radir` and `configuration_ctvit` describe a model; `pictures`, `dicom`
(`dicom_levels`, `dicom_frames`, `dicom_series`), `nifti`, `voxels` and `volumes` read images, and
`resampling`, `image_processing_radir`, `image_processing_radir_ct` and `processing_radir` make them ready;
`modeling_base`, `modeling_vision`, `modeling_ctvit` (`modeling_ctvit_layers`), `modeling_text`,
`modeling_fusion`, `modeling_linear_fusion` and `modeling_centre` are its parts, `modeling_radir` the whole;
`losses` train it, `inference` and `pipeline_radir` use it, `checks` serve all. These files travel with a
saved model, so they lie side by side; `heat_maps/` and `conversion/` stay here.
"""

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor

from .configuration_ctvit import RadIRCTViTConfig
from .configuration_radir import RadIRConfig, RadIRFusionConfig
from .image_processing_radir import RadIRCXRImageProcessor
from .image_processing_radir_ct import RadIRCTImageProcessor
from .losses import (
    ConditionalLoss,
    MaskedInfoNCELoss,
    RankedTripletLoss,
    UnconditionalLoss,
    gather_with_gradient,
)
from .modeling_ctvit import RadIRCTViTModel
from .modeling_fusion import RadIRFusionModel
from .modeling_linear_fusion import RadIRLinearFusionModel
from .modeling_radir import RadIRModel, RadIROutput
from .modeling_text import RadIRTextModel
from .modeling_vision import RadIRVisionModel, RadIRVisionOutput
from .processing_radir import RadIRProcessor
from .volumes import Volume, read_volume

__all__ = [
    "ConditionalLoss",
    "MaskedInfoNCELoss",
    "RadIRCTImageProcessor",
    "RadIRCTViTConfig",
    "RadIRCTViTModel",
    "RadIRCXRImageProcessor",
    "RadIRConfig",
    "RadIRFusionConfig",
    "RadIRFusionModel",
    "RadIRLinearFusionModel",
    "RadIRModel",
    "RadIROutput",
    "RadIRProcessor",
    "RadIRTextModel",
    "RadIRVisionModel",
    "RadIRVisionOutput",
    "RankedTripletLoss",
    "UnconditionalLoss",
    "Volume",
    "gather_with_gradient",
    "read_volume",
]

AutoConfig.register(RadIRConfig.model_type, RadIRConfig, exist_ok=True)
AutoModel.register(RadIRConfig, RadIRModel, exist_ok=True)
AutoConfig.register(RadIRCTViTConfig.model_type, RadIRCTViTConfig, exist_ok=True)
AutoModel.register(RadIRCTViTConfig, RadIRCTViTModel, exist_ok=True)
# One implementation, in torch alone; transformers asks for it under the names of its back ends.
AutoImageProcessor.register(
    RadIRConfig,
    image_processor_classes=dict.fromkeys(("pil", "torchvision"), RadIRCXRImageProcessor),
    exist_ok=True,
)
# A processor is found by the name in its saved settings; each class needs a configuration to stand under.
AutoImageProcessor.register(
    RadIRCTViTConfig,
    image_processor_classes=dict.fromkeys(("pil", "torchvision"), RadIRCTImageProcessor),
    exist_ok=True,
)
AutoProcessor.register(RadIRConfig, RadIRProcessor, exist_ok=True)

# save_pretrained then copies the code into the folder, so that it loads where this package is not installed.
RadIRConfig.register_for_auto_class()
RadIRModel.register_for_auto_class("AutoModel")
RadIRCTViTConfig.register_for_auto_class()
RadIRCTViTModel.register_for_auto_class("AutoModel")
RadIRCXRImageProcessor.register_for_auto_class("AutoImageProcessor")
RadIRCTImageProcessor.register_for_auto_class("AutoImageProcessor")
RadIRProcessor.register_for_auto_class("AutoProcessor")
