"""fastvae.torch: a fitted model as an nn.Module, and back."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from exportable import CASES, EXPORTED, ROWS, counts, far, images, labelled, unit
from helpers import TIMEOUT, same, small
from numpy.typing import NDArray

import fastvae.torch
from fastvae import VAE, Autoencoder, CountVAE, TopicModel
from fastvae._topics import prior
from fastvae.likelihoods import Gaussian

torch = pytest.importorskip("torch", reason="fastvae.torch needs torch")
nn = torch.nn

pytestmark = pytest.mark.filterwarnings("ignore:.*")


def tensor(array: Any) -> Any:
    return None if array is None else torch.from_numpy(np.asarray(array, np.float32))


def close(found: Any, wanted: NDArray[Any]) -> None:
    """Equal up to 1e-5 of each column's size."""
    scale = np.maximum(np.abs(wanted).max(0), 1e-30)
    np.testing.assert_allclose(found.detach().numpy() / scale, wanted / scale, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", EXPORTED)
def test_the_module_is_the_model(name: str) -> None:
    model, X, y, condition = EXPORTED[name]()
    module = fastvae.torch.to_module(model)
    given = () if y is None else (tensor(condition),)
    assert not module.training
    with torch.no_grad():
        found = module(tensor(X), *given)
        if isinstance(model, Autoencoder):
            close(found, model.reconstruct(X))
            close(module.encode(tensor(X)), model.transform(X))
        else:
            reconstruction, mu, logvar = found
            wanted = model.encode(X, y=y)
            close(mu, wanted[0])
            close(logvar, wanted[1])
            eps = np.random.default_rng(0).normal(size=mu.shape).astype(np.float32)
            elbo = module.elbo(tensor(X), *given, eps=tensor(eps))
            np.testing.assert_allclose(elbo, model.score_samples(X, y=y, eps=eps, n_samples=1), rtol=2e-5, atol=2e-4)
            if isinstance(model, TopicModel):
                points = tensor(prior.points(4))
                theta = module.code(module.reparameterize(mu[:, None], logvar[:, None], points).flatten(0, 1))
                close(theta.unflatten(0, (len(X), -1)).mean(1), model.transform(X))
            else:
                decoded = model.inverse_transform(wanted[0], y=y).reshape(len(X), -1)
                sized = model._require_fitted().specification.sized
                close(reconstruction, decoded * X.sum(1, keepdims=True) if sized else decoded)
    assert set(model.state_dict()) == {key for key in module.state_dict() if "num_batches" not in key}
    assert same(model.load_state_dict(module.state_dict()), module_arrays(module, model))


def module_arrays(module: Any, model: Any) -> dict[str, Any]:
    return {name: module.state_dict()[name].numpy() for name in model.state_dict()}


def test_images_are_read_and_returned_in_the_layout_of_torch() -> None:
    model, X, *_ = CASES["images"]()
    module = fastvae.torch.to_module(model)
    pictures = tensor(X).unflatten(1, (6, 8, 2)).permute(0, 3, 1, 2)
    with torch.no_grad():
        reconstruction, mu, _ = module(pictures)
        assert reconstruction.shape == pictures.shape == module.decode(mu).shape
        close(reconstruction.permute(0, 2, 3, 1).flatten(1), model.reconstruct(X))


def test_a_module_trains_on_and_its_weights_come_back() -> None:
    model, X, *_ = CASES["batch norm"]()
    module = fastvae.torch.to_module(model).train()
    optimizer, before = torch.optim.Adam(module.parameters(), 1e-2), model.score_samples(X, n_samples=50).mean()
    for _ in range(60):
        optimizer.zero_grad()
        (-module.elbo(tensor(X)).mean()).backward()
        optimizer.step()
    for trained in (model.load_state_dict(module.state_dict()), fastvae.torch.from_module(module)):
        assert trained.score_samples(X, n_samples=50).mean() > before + 0.05
        close(module.eval().encode(tensor(X))[0], trained.transform(X))


def test_a_drawn_z_differs_in_training_and_is_mu_in_evaluation() -> None:
    model, X, *_ = CASES["no hidden layers"]()
    module = fastvae.torch.to_module(model)
    assert torch.equal(module(tensor(X))[0], module(tensor(X))[0])
    module.train()
    assert not torch.equal(module(tensor(X))[0], module(tensor(X))[0])


@pytest.mark.parametrize("name", ["images", "autoencoder", "exam", "topics, mixture", "standardised", "covariates"])
def test_from_module_undoes_to_module(name: str) -> None:
    model, X, y, _ = CASES[name]()
    back = fastvae.torch.from_module(fastvae.torch.to_module(model))
    assert type(back) is type(model)
    assert same(model, back)
    np.testing.assert_array_equal(back.transform(X, y=y), model.transform(X, y=y))


def test_y_is_required_by_conditional_models_only() -> None:
    X = tensor(unit())
    with pytest.raises(ValueError, match="pass y: the model is conditional"):
        fastvae.torch.to_module(labelled().model).encode(X)
    with pytest.raises(ValueError, match="leave out y"):
        fastvae.torch.to_module(CASES["no hidden layers"]().model).encode(X, X)


# ------------------------------------------------------------------------------------------- other modules


class Example(nn.Module):
    """The VAE of PyTorch's examples."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(12, 40), nn.Linear(40, 3), nn.Linear(40, 3)
        self.fc3, self.fc4 = nn.Linear(3, 40), nn.Linear(40, 12)

    def encode(self, x: Any) -> Any:
        h = torch.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def decode(self, z: Any) -> Any:
        return torch.sigmoid(self.fc4(torch.relu(self.fc3(z))))


class Convolutional(nn.Module):
    """Blocks of layers, as in PyTorch-VAE and pythae."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Sequential(nn.Conv2d(2, 5, 3, 2, 1), nn.BatchNorm2d(5), nn.ELU()),
            nn.Sequential(nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(1)),
            nn.Flatten(),
        )
        self.fc_mu, self.fc_var = nn.Linear(72, 3), nn.Linear(72, 3)
        self.decoder_input = nn.Linear(3, 72)
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (6, 3, 4)), nn.ConvTranspose2d(6, 4, 3, 2, 1, 1), nn.BatchNorm2d(4), nn.Tanh()
        )
        self.decoder_out = nn.Sequential(nn.Conv2d(4, 2, 3, padding=1), nn.Sigmoid())
        for norm in (self.encoder[0][1], self.decoder[2]):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)

    def encode(self, x: Any) -> Any:
        h = self.encoder(x)
        return self.fc_mu(h), self.fc_var(h)

    def decode(self, z: Any) -> Any:
        return self.decoder_out(self.decoder(self.decoder_input(z)))


class Plain(nn.Module):
    """An autoencoder of two sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(12, 8), nn.GELU(), nn.Linear(8, 6), nn.Tanh())
        self.bottleneck = nn.Linear(6, 2)
        self.dec = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 12))


def test_from_module_reads_the_example_of_pytorch() -> None:
    module, X = Example(), unit()
    vae = fastvae.torch.from_module(module, activation="relu", likelihood="bernoulli", random_state=0)
    assert (vae.hidden[0].units, vae.latent_dim, vae.random_state) == (40, 3, 0)
    mu, logvar = module.encode(tensor(X))
    close(mu, vae.encode(X)[0])
    close(logvar, vae.encode(X)[1])
    close(module.decode(mu), vae.reconstruct(X))


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_from_module_reads_blocks_of_convolutions_in_a_wrapper(wrap: Any) -> None:
    module, X = Convolutional().eval(), unit(96)
    vae = fastvae.torch.from_module(wrap(module), image_shape=(6, 8, 2))
    mu, logvar = module.encode(tensor(X).unflatten(1, (6, 8, 2)).permute(0, 3, 1, 2))
    close(mu, vae.encode(X)[0])
    close(logvar, vae.encode(X)[1])
    close(module.decode(mu).permute(0, 2, 3, 1).flatten(1), vae.reconstruct(X))


def test_from_module_reads_an_autoencoder_by_a_mapping() -> None:
    module, X = Plain(), unit()
    mapping = {"enc": "encoder", "bottleneck": "code", "dec": "decoder"}
    model = fastvae.torch.from_module(module, mapping, loss="squared_error")
    assert isinstance(model, Autoencoder)
    code = module.bottleneck(module.enc(tensor(X)))
    close(code, model.transform(X))
    close(module.dec(code), model.reconstruct(X))


class Shared(nn.Module):
    """Modules that are called twice, have two names, or no bias."""

    def __init__(self) -> None:
        super().__init__()
        tanh, block = nn.Tanh(), nn.Sequential(nn.Linear(12, 12, bias=False), nn.ELU())
        self.first = nn.Linear(12, 12)
        self.encoder = nn.Sequential(self.first, tanh, nn.Linear(12, 12), tanh, block, block)
        self.mu, self.logvar = nn.Linear(12, 2, bias=False), nn.Linear(12, 2)
        self.decoder = nn.Sequential(nn.Linear(2, 12), tanh, nn.Linear(12, 12), nn.Sigmoid())
        self.whole = nn.Sequential(self.encoder, self.mu, self.decoder)


def test_from_module_reads_a_module_wherever_it_is_called() -> None:
    module = Shared()
    found = fastvae.torch.from_module(module)
    X = unit()
    close(module.mu(module.encoder(tensor(X))), found.transform(X))
    close(module.whole(tensor(X)), found.reconstruct(X))


def test_from_module_refuses_modules_that_compute_something_else() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Any) -> Any:
            return 2 * super().forward(x)

    module = Shared()
    module.encoder[2] = Doubled(12, 12)
    with pytest.raises(ValueError, match=r"encoder\.2.* Doubled has a forward of its own"):
        fastvae.torch.from_module(module)
    module.encoder[2] = torch.nn.utils.parametrizations.weight_norm(nn.Linear(12, 12))
    with pytest.raises(ValueError, match=r"encoder\.2 has parametrizations: call .*remove_parametrizations first"):
        fastvae.torch.from_module(module)


def test_from_module_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="pass activation=: the encoder's activations"):
        fastvae.torch.from_module(Example(), likelihood="bernoulli")
    with pytest.raises(ValueError, match="pass likelihood=, 'bernoulli' if the decoder returns logits"):
        fastvae.torch.from_module(Example(), activation="relu")
    with pytest.raises(ValueError, match="no modules that are mu, logvar"):
        fastvae.torch.from_module(nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(TypeError, match=r"takes a torch\.nn\.Module, not int"):
        fastvae.torch.from_module(3)
    module = Plain()
    module.enc[1] = nn.LeakyReLU()
    with pytest.raises(ValueError, match=r"enc\.1, LeakyReLU.* has no counterpart"):
        fastvae.torch.from_module(module, loss="squared_error")
    with pytest.raises(ValueError, match="there is no 'nothing', which the mapping names"):
        fastvae.torch.from_module(Plain(), {"nothing": "mu"})


# --------------------------------------------------------------------------------------------------- rename


def test_rename_recognises_common_names() -> None:
    module, X = Example(), unit()
    vae = VAE(3, hidden=(40,))
    assert fastvae.torch.load_state_dict(vae, module.state_dict()) is vae
    close(module.encode(tensor(X))[0], vae.transform(X))
    wrapped = {f"_orig_mod.module.{name}": value for name, value in module.named_parameters()}
    assert same(VAE(3, hidden=(40,)).load_state_dict(fastvae.torch.rename(wrapped)), vae)


def test_rename_numbers_modules_between_images_and_columns() -> None:
    module = Convolutional()
    names = fastvae.torch.rename(module.state_dict())
    assert [name for name in names if name.endswith("weight")] == [
        *("encoder.0.weight", "encoder.1.weight", "encoder.3.weight", "mu.weight", "logvar.weight"),
        *("decoder.0.weight", "decoder.3.weight", "decoder.4.weight", "decoder.6.weight"),
    ]


def test_rename_reads_half_precision() -> None:
    module = Example().bfloat16()
    found = fastvae.torch.rename(module.state_dict())
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(found["mu.weight"], module.fc21.weight.detach().float().numpy())


def test_rename_leaves_our_names_and_follows_a_mapping() -> None:
    model = CASES["images"]().model
    assert same(fastvae.torch.rename(model.state_dict()), model)
    state = {"a.weight": np.ones((3, 2)), "b": np.zeros(3), **model.state_dict()}
    state = {name: state[name] for name in state if not name.startswith("mu")}
    found = fastvae.torch.rename(state, {"a": "mu", "b": "mu.bias"})
    assert found["mu.weight"].shape == (3, 2)
    assert found["mu.bias"].shape == (3,)


def test_rename_says_what_is_missing_and_left_over() -> None:
    state = Example().state_dict()
    del state["fc22.weight"]
    state["odd"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"lacks 'logvar.weight'; left over: 'odd'\. Pass mapping="):
        fastvae.torch.rename(state)
    with pytest.raises(ValueError, match=r"no 'fc9', which the mapping names"):
        fastvae.torch.rename(Example().state_dict(), {"fc9": "mu"})
    with pytest.raises(ValueError, match=r"pass checkpoint\['state_dict'\]"):
        fastvae.torch.rename({"state_dict": state, "epoch": 3})
    with pytest.raises(ValueError, match=r"missing .*encoder.2.weight"):
        fastvae.torch.load_state_dict(VAE(3, hidden=(40, 7)), Example().state_dict())
    with pytest.raises(TypeError, match="is a mapping from names to tensors, not list"):
        fastvae.torch.rename([])


def test_learned_scales_are_parameters() -> None:
    model = small(likelihood=Gaussian("per_feature")).fit(far())
    module = fastvae.torch.to_module(model)
    assert "likelihood.log_scale" in dict(module.named_parameters())
    assert "standardize.shift" in dict(module.named_buffers())
    assert not {"standardize.shift"} & set(dict(module.named_parameters()))
    assert images().model.latent_dim == 3


def test_torch_is_imported_when_a_function_needs_it() -> None:
    code = "import sys, fastvae; fastvae.torch.rename; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=TIMEOUT, check=False).returncode == 0
    code = (
        "import sys, fastvae, numpy; sys.modules['torch'] = None\n"
        "fastvae.torch.to_module(fastvae.VAE(2, hidden=(), epochs=1).fit(numpy.random.random((9, 4))))"
    )
    found = subprocess.run([sys.executable, "-c", code], timeout=TIMEOUT, check=False, capture_output=True, text=True)
    assert "ModuleNotFoundError: fastvae.torch needs torch, which is not installed: pip install torch" in found.stderr


def test_given_sizes_are_an_argument() -> None:
    X, sizes = counts(), np.random.default_rng(4).lognormal(size=ROWS)
    model = CountVAE(3, hidden=(9,), size_factor="given", epochs=2, random_state=0).fit(X, size_factor=sizes)
    module = fastvae.torch.to_module(model)
    eps = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
    with torch.no_grad():
        close(module(tensor(X), size=tensor(sizes))[0], model.reconstruct(X, size_factor=sizes))
        elbo = module.elbo(tensor(X), eps=tensor(eps), size=tensor(sizes))
    wanted = model.score_samples(X, size_factor=sizes, eps=eps, n_samples=1)
    np.testing.assert_allclose(elbo, wanted, rtol=2e-5, atol=2e-4)
    with pytest.raises(ValueError, match="pass size"):
        module(tensor(X))
    other = fastvae.torch.to_module(CountVAE(3, hidden=(9,), epochs=1, random_state=0).fit(X))
    with pytest.raises(ValueError, match="leave out size"):
        other(tensor(X), size=tensor(sizes))
