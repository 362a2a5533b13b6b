"""RadIR models for transformers: importing this package makes AutoModel and its kin know them."""

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor

from .configuration_radir import RadIRConfig, RadIRFusionConfig
from .distributed import gather_with_gradient
from .image_processing_radir import RadIRCXRImageProcessor
from .losses import ConditionalLoss, MaskedInfoNCELoss, RankedTripletLoss, UnconditionalLoss
from .modeling_fusion import RadIRFusionModel
from .modeling_radir import RadIRModel, RadIROutput
from .modeling_text import RadIRTextModel
from .modeling_vision import RadIRVisionModel, RadIRVisionOutput
from .processing_radir import RadIRProcessor
from .retrieval_index import RetrievalIndex

__all__ = [
    "ConditionalLoss",
    "MaskedInfoNCELoss",
    "RadIRCXRImageProcessor",
    "RadIRConfig",
    "RadIRFusionConfig",
    "RadIRFusionModel",
    "RadIRModel",
    "RadIROutput",
    "RadIRProcessor",
    "RadIRTextModel",
    "RadIRVisionModel",
    "RadIRVisionOutput",
    "RankedTripletLoss",
    "RetrievalIndex",
    "UnconditionalLoss",
    "gather_with_gradient",
]

AutoConfig.register(RadIRConfig.model_type, RadIRConfig, exist_ok=True)
AutoModel.register(RadIRConfig, RadIRModel, exist_ok=True)
# One implementation, in torch alone; transformers asks for it under the names of its back ends.
AutoImageProcessor.register(
    RadIRConfig,
    image_processor_classes=dict.fromkeys(("pil", "torchvision"), RadIRCXRImageProcessor),
    exist_ok=True,
)
AutoProcessor.register(RadIRConfig, RadIRProcessor, exist_ok=True)

# save_pretrained then copies the code into the folder, so that it loads where this package is not installed.
RadIRConfig.register_for_auto_class()
RadIRModel.register_for_auto_class("AutoModel")
RadIRCXRImageProcessor.register_for_auto_class("AutoImageProcessor")
RadIRProcessor.register_for_auto_class("AutoProcessor")
