"""Models written to folders, and validation: what every process of a run takes part in."""

from collections.abc import Callable
from pathlib import Path

from accelerate.utils import broadcast

from caan.data.benchmark import Benchmark
from caan.evaluation.evaluate import evaluate
from caan.evaluation.retrievers import Retriever
from caan.options import DataOptions, TrainOptions
from caan.training.files import publish_folder, temporary_folder
from caan.training.whitening import fit_whitening
from modeling_caan import CAANModel


def validate(model, image_processor, benchmark: Benchmark, options: TrainOptions, data: DataOptions, accelerator) -> float:
    """mAP@all on the held-out items of seen classes, the only number that may select a model.

    Every process first takes the main one's buffers: batch norms count by themselves in each, and the main one's are saved.
    """
    model = accelerator.unwrap_model(model)
    for buffer in model.buffers():
        buffer.copy_(broadcast(buffer))
    retriever = Retriever("validation", model, image_processor)
    report = evaluate(
        retriever, benchmark, batch_size=options.eval_batch_size, num_workers=data.num_workers, accelerator=accelerator
    )
    return report["map_all"]


def save_model(model, processor, folder: Path, accelerator, full: bool = True) -> None:
    """Writes weights, config, processors and code to `folder`, complete or not at all. Call it in every process.

    Args:
        full: with text encoder and alignment; otherwise the form for inference.
    """
    state_dict = accelerator.get_state_dict(model)
    if accelerator.is_main_process:
        temporary = temporary_folder(folder)
        model = accelerator.unwrap_model(model)
        if not full:
            model, processor = model.for_inference(), getattr(processor, "image_processor", processor)
            state_dict = {name: state_dict[name] for name in model.state_dict()}
        model.save_pretrained(temporary, state_dict=state_dict)
        processor.save_pretrained(temporary)
        publish_folder(temporary, folder)
    accelerator.wait_for_everyone()


def whiten(
    source: Path,
    target: Path,
    processor,
    train_split,
    options: TrainOptions,
    data: DataOptions,
    accelerator,
    check: Callable[[CAANModel], None],
) -> CAANModel:
    """Fits the whitening of the model in `source` and saves it as `target`; returns the model. Call it in every process.

    The source stays as it is: a run that is killed here begins the whitening anew.

    Args:
        check: sees the model before it is saved, and raises where it must not be.
    """
    model = CAANModel.from_pretrained(source).to(accelerator.device)
    image_processor = getattr(processor, "image_processor", processor)
    settings = {"batch_size": options.eval_batch_size, "num_workers": data.num_workers, "accelerator": accelerator}
    fit_whitening(model, image_processor, train_split, **settings)
    check(model)
    save_model(model, processor, target, accelerator)
    return model
