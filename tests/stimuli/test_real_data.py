"""Published stimuli: 92 objects of Kriegeskorte et al. (2008, Neuron 60:1126), CIFAR-10 test images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from stimuli import StimulusSet


@pytest.fixture(scope="module")
def objects92(real_data: Path) -> StimulusSet:
    path = real_data / "kriegeskorte92" / "Kriegeskorte_Neuron2008_supplementalData.mat"
    structs = loadmat(path, simplify_cells=True)["stimuli_92objs"]
    return StimulusSet(
        [f"object{row:02d}" for row in range(len(structs))],
        images=[struct["image"] for struct in structs],
        texts=[struct["category"] for struct in structs],
        attributes={
            name: np.array([struct[name] for struct in structs], dtype=bool)
            for name in ("human", "face", "animal", "natural")
        },
        name="kriegeskorte92",
    )


class TestObjects92:
    def test_counts_and_sizes_are_the_published_ones(self, objects92: StimulusSet) -> None:
        assert len(objects92) == 92
        assert {objects92.image(row).shape for row in range(92)} == {(175, 175, 3)}
        # 48 animate (24 faces and 24 bodies; 24 human and 24 not), 44 inanimate: their figure 1.
        table = objects92.attributes
        assert (table["animal"].sum(), table["face"].sum(), table["human"].sum()) == (48, 24, 24)
        # Objects stand on the grey of the screen.
        corners = np.array([objects92.image(row)[0, 0] for row in range(92)])
        assert np.ptp(corners.astype(int), axis=1).max() <= 4

    def test_saved_and_brainscore_round_trips(self, objects92: StimulusSet, tmp_path: Path) -> None:
        objects92.save(tmp_path / "set")
        loaded = StimulusSet.load(tmp_path / "set")
        assert loaded.content_hash == objects92.content_hash
        back = StimulusSet.from_brainscore(loaded.to_brainscore(tmp_path / "png"))
        for row in range(92):
            np.testing.assert_array_equal(back.image(row), objects92.image(row))
        assert back.texts == objects92.texts
        assert back.attributes.equals(objects92.attributes)


class TestCifar:
    def test_a_folder_of_folders(self, real_data: Path, tmp_path: Path) -> None:
        stimuli = StimulusSet.from_folder(real_data / "cifar10_sample")
        assert len(stimuli) == 1000
        categories = [stimulus_id.split("/")[0] for stimulus_id in stimuli.stimulus_ids]
        assert {name: categories.count(name) for name in set(categories)} == dict.fromkeys(
            set(categories), 100
        )
        assert len(set(categories)) == 10
        stimuli.verify()
        assert len(set(stimuli.media_hashes)) == 1000
        part = stimuli[::100]
        for row in range(10):
            with Image.open(part.image_paths[row]) as image:
                np.testing.assert_array_equal(part.image(row), np.asarray(image.convert("RGB")))
        part.save(tmp_path / "set")
        assert StimulusSet.load(tmp_path / "set").content_hash == part.content_hash
